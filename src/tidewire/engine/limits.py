"""Every bound of the engine: its name, its default and its reason, in one place."""

from __future__ import annotations

from typing import Final

MAXIMUM_INTERVAL: Final = 0xFFFF_FFFF  # a Session Expiry Interval that never ends (3.1.2.11.2)

SUBSCRIBE_IDENTIFIERS: Final = 512
"""Packet identifiers that a client keeps for SUBSCRIBE and UNSUBSCRIBE: so many may be unanswered at a time."""

REMEMBERED_TOPICS: Final = 4096
"""Topics a client remembers for each of: who reads what comes, how what it publishes starts, what it has unsubscribed
from. When full it starts anew."""


DROP_NEWEST: Final = "drop_newest"
DROP_OLDEST: Final = "drop_oldest"
REFUSE: Final = "refuse"


class Limits:
    """What one broker allows. Bytes are bytes on the wire, times seconds; 0 is "not at all" unless it says else."""

    def __init__(self) -> None:
        # What one peer may send.
        self.maximum_packet_size = 10 * 1024 * 1024
        """Largest packet accepted: room for a camera's picture, small enough that a hundred at once fit in memory."""
        self.connect_packet_bytes = 512 * 1024
        """Largest CONNECT: its five fields of 64 KiB and properties; a stranger gets no larger buffer than that."""
        self.control_packet_bytes = 256 * 1024
        """Largest packet after CONNECT that is not a PUBLISH, and largest properties of a PUBLISH: read field by field,
        they cost a hundred times what a payload costs, and everybody else waits meanwhile."""
        self.connect_timeout_s = 10.0
        """How long a connection may stay without its CONNECT [MQTT-3.1.4-1]: half-open peers hold a descriptor."""
        self.keep_alive_maximum_s = 0
        """Longest Keep Alive granted (5.0: as Server Keep Alive); 0: whatever the client asks, none included."""
        self.receive_maximum = 1024
        """QoS 2 messages one client may have unfinished towards us (3.1.2.11.3): bounds their identifiers."""
        self.topic_alias_maximum = 32
        """Topic aliases one client may set (3.1.2.11.5): each keeps a topic of up to 64 KiB."""
        self.topic_levels = 128
        """Levels of a topic name or filter: bounds the walk through the topic tree."""
        self.subscriptions_per_session = 10_000
        """Enough for a gateway's list of devices; past it one session would own the topic tree."""
        self.client_identifier_bytes = 1024
        """Longest Client Identifier: it is kept for as long as the session."""
        self.unread_answer_bytes = 1024 * 1024
        """Answers that wait for a peer that does not read; past it we stop reading from the peer."""
        self.remembered_properties_bytes = 4096
        """Properties of a PUBLISH kept to recognise the next by, while the connection lasts: a trace header fits."""

        # What one session may hold.
        self.inflight_maximum = 1024
        """QoS 1 and 2 messages sent and not yet acknowledged, whatever larger Receive Maximum the client names."""
        self.queue_messages = 10_000
        """QoS 1 and 2 messages that wait for one session."""
        self.queue_bytes = 16 * 1024 * 1024
        """The same in bytes: ten thousand pictures must not fill the memory."""
        self.queue_policy = DROP_NEWEST
        """What a full queue does: DROP_NEWEST, the new message is lost to that session, and its publisher hears "quota
        exceeded" where nobody could take it; DROP_OLDEST, it takes the place of the oldest that waits; REFUSE, its
        publisher hears "quota exceeded" if there is one session that could not take it. Before 5.0 nobody can hear."""
        self.outbox_bytes = 1024 * 1024
        """QoS 0 bytes that wait for a peer that reads too slowly; what comes then is dropped into its ledger."""
        self.session_expiry_maximum_s = 7 * 24 * 3600
        """Longest life of a session without its client: a forgotten one ends after a week."""
        self.outgoing_topic_aliases = 32
        """Topic aliases we set towards one client, whatever larger Topic Alias Maximum it names."""

        # What one client or user may do; 0: as much as it likes.
        self.connections_per_user = 0
        """Connections of one user name at a time; past it CONNECT is refused with "quota exceeded"."""
        self.publish_messages_per_s = 0
        """Messages a second that one client may publish, and as many at once. What comes on top is refused with "quota
        exceeded" in 5.0; before, where nothing can be said, the client is not read from until its time has come."""
        self.publish_bytes_per_s = 0
        """The same for the bytes of their payloads and properties."""

        # What the whole broker may hold.
        self.sessions = 1_000_000
        """Sessions, connected or not; past it CONNECT is refused as "server busy"."""
        self.retained_messages = 1_000_000
        """Retained messages; past it a new topic is refused with "quota exceeded"."""
        self.retained_bytes = 1024 * 1024 * 1024
        """Topics and payloads of all retained messages."""
        self.retained_levels = 4_000_000
        """Levels of the topics of retained messages, shared ones counted once: each takes a third of a kilobyte."""
        self.subscribed_levels = 4_000_000
        """The same for topic filters; past it SUBSCRIBE is refused with "quota exceeded"."""
        self.route_cache_topics = 65_536
        """Topics whose subscribers are remembered; when full the cache starts anew."""
        self.route_cache_topic_bytes = 512
        """Longest topic remembered there, so that the cache stays below 32 MiB of topics."""
        self.route_cache_entries = 4_000_000
        """Subscribers of all topics there: a thousand of `#` on every topic would take a gigabyte."""
        self.metered_clients = 20_000
        """Clients that the meter has accounts for, of two kilobytes each; more share one until the month ends."""
        self.metered_branches = 1_000
        """The same for branches of the topics: what begins with the same levels …"""
        self.metered_levels = 2
        """… of which these are counted: `plant/line1` of `plant/line1/motor/speed`."""

        # How work is shared out.
        self.early_flush_bytes = 256 * 1024
        """Bytes on one outbox that go to the socket before the pass ends: bounds what one pass can pile up."""
        self.retained_burst = 512
        """Retained messages delivered to one session before others get their turn."""
        self.closing_grace_s = 5.0
        """How long a closed connection may take to read its last bytes before it is cut."""
        self.sys_interval_s = 10.0
        """How often `$SYS` topics are published; 0: never."""
