"""Why is a setting of Mosquitto not taken over? A table to look into; nothing is decided here."""

from __future__ import annotations

from typing import Final

_PLUGIN: Final = (
    "plugins of Mosquitto do not run here; [access.http] and [access.jwt] ask somebody else who may do what"
)
_KEPT: Final = (
    "data is kept in a directory of its own (data = …); take over theirs: tidewire store import --mosquitto FILE"
)

REASONS: Final = {
    "auth_plugin": _PLUGIN,
    "auth_plugin_deny_special_chars": _PLUGIN,
    "auto_id_prefix": "client identifiers that the broker makes have no prefix",
    "bind_interface": "listeners are bound to addresses; write that of the interface in bind",
    "capath": "certificates of authorities stand in one file: cat DIRECTORY/*.pem > ca.pem, and client_ca = \"ca.pem\"",
    "ciphers_tls1.3": "the ciphers of TLS 1.3 are all good, and are not chosen from",
    "clientid_prefixes": "write rules with %c instead, which bind topics to client identifiers",
    "dhparamfile": "the key exchange uses elliptic curves, or parameters that OpenSSL chooses",
    "http_dir": "files are not served; let a web server do that",
    "log_dest": "the log goes to standard error; whoever starts the broker says where that leads",
    "log_facility": "the log goes to standard error",
    "log_timestamp_format": "times in the log have one form",
    "max_inflight_bytes": "messages in flight are bounded by their number, inflight_maximum",
    "max_qos": "every QoS is served",
    "maximum_qos": "every QoS is served",
    "memory_limit": "memory is bounded by what it is for: queues, sessions, retained messages, each in [limits]",
    "mount_point": "topics are not rewritten; write rules for what clients of a listener may reach",
    "mqtt_sn": "MQTT-SN is not spoken",
    "persistence_file": _KEPT,
    "persistence_location": _KEPT,
    "pid_file": "name it where the broker is started: tidewire serve --pid-file FILE",
    "plugin": _PLUGIN,
    "psk_hint": "clients are given no hint; psk_file is taken over where the listener has a certificate, too",
    "queue_qos0_messages": "messages of QoS 0 do not wait for clients that are away",
    "tls_engine": "keys are read from files",
    "tls_engine_kpass_sha1": "keys are read from files",
    "tls_keyform": "keys are read from files",
    "use_subject_as_username": "a user name is one name of the certificate: identity = \"common_name\"",
    "use_username_as_clientid": "client identifiers stay as they are; write rules with %u instead",
    "user": "the broker keeps the user that starts it; name it there, as User= of systemd",
    "websockets_headers_size": "what a WebSocket request may be long is not set",
    "websockets_log_level": "WebSocket is logged like everything else",
}  # fmt: skip

SAME_HERE: Final = {
    "allow_duplicate_messages": ("", ""),
    "allow_zero_length_clientid": ("true", "clients without an identifier are given one, as MQTT says"),
    "autosave_interval": ("", ""),
    "autosave_on_changes": ("", ""),
    "check_retain_source": ("true", "a retained message always answers to the rules of whoever published it"),
    "connection_messages": ("true", "connections are logged; log_level = \"warning\" leaves them out"),
    "log_timestamp": ("true", "every line of the log has its time"),
    "retain_available": ("true", "retained messages cannot be switched off; bound them: limits.retained_messages"),
    "set_tcp_nodelay": ("", ""),
    "upgrade_outgoing_qos": ("false", "a message is sent at most at the QoS that it was published with, as MQTT says"),
}  # fmt: skip
"""What is so here anyway, where it says this, or whatever it says if that is empty; and why it cannot be else."""

BRIDGE_KEYS: Final = frozenset(
    (
        "connection",
        "address",
        "addresses",
        "topic",
        "cleansession",
        "local_cleansession",
        "clientid",
        "remote_clientid",
        "local_clientid",
        "username",
        "remote_username",
        "local_username",
        "password",
        "remote_password",
        "local_password",
        "keepalive_interval",
        "idle_timeout",
        "notifications",
        "notifications_local_only",
        "notification_topic",
        "restart_timeout",
        "round_robin",
        "start_type",
        "threshold",
        "try_private",
    )
)
