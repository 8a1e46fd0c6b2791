"""What can be wrong with a packet, each with the reason code that says so."""

from __future__ import annotations

from tidewire.wire.codes import ReasonCode


class ProtocolViolation(Exception):
    """The peer broke the protocol; `reason_code` is what a DISCONNECT or CONNACK should carry.

    Raised by `wire` and `engine` only while a peer's bytes are being read, and never past its connection.
    """

    def __init__(self, reason_code: int, detail: str) -> None:
        super().__init__(detail)
        self.reason_code = reason_code
        self.detail = detail


class MalformedPacket(ProtocolViolation):
    """The bytes cannot be parsed as the specification says (section 1.2, 4.13): reason code 0x81."""

    def __init__(self, detail: str) -> None:
        super().__init__(ReasonCode.MALFORMED_PACKET, detail)


class ProtocolError(ProtocolViolation):
    """The packet parses, but is not allowed here (section 1.2, 4.13): reason code 0x82."""

    def __init__(self, detail: str) -> None:
        super().__init__(ReasonCode.PROTOCOL_ERROR, detail)


class UnsupportedVersion(ProtocolViolation):
    """CONNECT asks for a protocol name or level that is not served (3.1.2.1, 3.1.2.2)."""

    def __init__(self, detail: str) -> None:
        super().__init__(ReasonCode.UNSUPPORTED_PROTOCOL_VERSION, detail)


class InvalidTopic(ValueError):
    """A topic name or topic filter that a caller wrote is not one (section 4.7); the text says why."""
