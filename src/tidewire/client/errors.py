"""What can go wrong for a user of the client; each message is one line, with the mend where there is one."""

from __future__ import annotations

from typing import Final

from tidewire.wire.codes import ConnectReturnCode, ReasonCode


class TidewireError(Exception):
    """The root of all errors of the client."""


class ConnectionFailed(TidewireError):
    """There is no connection to the server, or there is none any more: the network, TLS, or no answer."""


class ConnectionLost(ConnectionFailed):
    """There was a connection, and it broke off."""

    def __init__(self, detail: str) -> None:
        super().__init__(f"the connection was lost: {detail}")


class ConnectionRefused(TidewireError):
    """The server said no, in CONNACK (3.2.2.2) or DISCONNECT (3.14.2.1)."""

    def __init__(self, reason_code: int, detail: str, permanent: bool, server_reference: str | None = None) -> None:
        super().__init__(detail)
        self.reason_code = reason_code
        """A ReasonCode in MQTT 5.0, a ConnectReturnCode before."""
        self.permanent = permanent
        """Whether trying again makes no sense."""
        self.server_reference = server_reference
        """Another server to use (3.2.2.3.16)."""


class WebSocketRefused(ConnectionError):
    """The server does not let a WebSocket through; becomes a ConnectionFailed with the same words."""


class NotConnected(TidewireError):
    """The client is not connected, and may not wait until it is."""


class PublishError(TidewireError):
    """A message was refused, or given up."""

    def __init__(self, reason_code: int, detail: str) -> None:
        super().__init__(detail)
        self.reason_code = reason_code


class QueueFull(TidewireError):
    """No more messages can wait; `await client.publish(…)` would wait for room."""


class SubscribeError(TidewireError):
    """The server refused topic filters."""

    def __init__(self, refused: dict[str, int]) -> None:
        told = ", ".join(f"{topic_filter!r}: {reason(code)}" for topic_filter, code in refused.items())
        super().__init__(f"the server refused to subscribe to {told}")
        self.reason_codes = refused
        """Topic filter → reason code."""


class Overflow(TidewireError):
    """A stream with overflow="error" had to leave messages out."""


PERMANENT: Final = frozenset(
    {
        ReasonCode.PROTOCOL_ERROR,
        ReasonCode.UNSUPPORTED_PROTOCOL_VERSION,
        ReasonCode.CLIENT_IDENTIFIER_NOT_VALID,
        ReasonCode.BAD_USER_NAME_OR_PASSWORD,
        ReasonCode.NOT_AUTHORIZED,
        ReasonCode.BANNED,
        ReasonCode.BAD_AUTHENTICATION_METHOD,
        ReasonCode.SESSION_TAKEN_OVER,
        ReasonCode.TOPIC_NAME_INVALID,
        ReasonCode.PACKET_TOO_LARGE,
        ReasonCode.PAYLOAD_FORMAT_INVALID,
        ReasonCode.RETAIN_NOT_SUPPORTED,
        ReasonCode.QOS_NOT_SUPPORTED,
        ReasonCode.USE_ANOTHER_SERVER,
        ReasonCode.SERVER_MOVED,
    }
)
"""Answers after which trying again would bring the same answer, or (session taken over) a fight between two clients."""

_PERMANENT_BEFORE_5: Final = frozenset(
    {
        ConnectReturnCode.UNACCEPTABLE_PROTOCOL_VERSION,
        ConnectReturnCode.IDENTIFIER_REJECTED,
        ConnectReturnCode.BAD_USER_NAME_OR_PASSWORD,
        ConnectReturnCode.NOT_AUTHORIZED,
    }
)


def reason(reason_code: int) -> str:
    """A reason code in words: "not authorized (0x87)"."""
    try:
        return f"{ReasonCode(reason_code).name.lower().replace('_', ' ')} (0x{reason_code:02x})"
    except ValueError:
        return f"reason code 0x{reason_code:02x}"


def refusal(reason_code: int, version: int, reason_string: str, server_reference: str | None) -> ConnectionRefused:
    """What a CONNACK that says no means to the user."""
    if version == 5:
        permanent = reason_code in PERMANENT
        words = reason(reason_code)
    else:
        permanent = reason_code in _PERMANENT_BEFORE_5
        name = ConnectReturnCode(reason_code).name.lower().replace("_", " ")
        words = f"{name} (return code {reason_code})"
    detail = f"the server refused the connection: {words}"
    if reason_string:
        detail += f": {reason_string}"
    if server_reference:
        detail += f"; it names another server: {server_reference}"
    return ConnectionRefused(reason_code, detail, permanent, server_reference)
