"""What a client receives: application messages, and the inboxes in which they wait for their readers."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any, Final

from mypy_extensions import mypyc_attr

from tidewire.wire import properties as p
from tidewire.wire.properties import Properties

if TYPE_CHECKING:
    from tidewire.engine.client_session import ClientSession

BLOCK: Final = 0
DROP_OLDEST: Final = 1
DROP_NEWEST: Final = 2
ERROR: Final = 3

BLOCK_SLACK_MESSAGES: Final = 65_536
"""How far an inbox that blocks may run past its maximum: a read brings many messages at once, and reading goes on
while somebody waits for an acknowledgement, which would otherwise never come. Past it, QoS 0 is dropped and counted."""


class Message:
    """An application message that came in (3.3). Every reader of it shares one object, so it is read-only."""

    def __init__(
        self,
        topic: str,
        payload: bytes,
        flags: int,
        properties: Properties,
        identifier: bytes,
        session: ClientSession,
    ) -> None:
        """`flags` are the low bits of the fixed header (2.1.3); `identifier` is empty at QoS 0."""
        self._topic = topic
        self._payload = payload
        self._flags = flags
        self._properties = properties
        self._identifier = identifier
        self._session = session
        self.readers = 0
        """How many inboxes have it that have not let it go."""

    @property
    def topic(self) -> str:
        """The Topic Name (3.3.2.1)."""
        return self._topic

    @property
    def payload(self) -> bytes:
        """What was published, as bytes."""
        return self._payload

    @property
    def qos(self) -> int:
        """0, 1 or 2: the lower one of publisher and subscription (3.3.1.2)."""
        return self._flags >> 1 & 3

    @property
    def retain(self) -> bool:
        """Whether it was retained and comes because of a new subscription (3.3.1.3)."""
        return self._flags & 1 != 0

    @property
    def dup(self) -> bool:
        """Whether the server sent it before (3.3.1.1); it may or may not have come."""
        return self._flags & 8 != 0

    @property
    def packet_identifier(self) -> int:
        """The Packet Identifier, 0 at QoS 0 (2.2.1)."""
        return int.from_bytes(self._identifier, "big")

    @property
    def properties(self) -> Properties:
        """All MQTT 5.0 properties as they came; not to be changed."""
        return self._properties

    @property
    def payload_format(self) -> int | None:
        """1 where the publisher says that the payload is UTF-8 text, 0 for bytes (3.3.2.3.2)."""
        return self._properties.integers.get(p.PAYLOAD_FORMAT_INDICATOR)

    @property
    def message_expiry(self) -> int | None:
        """Seconds of life that the message had left when the server sent it (3.3.2.3.3)."""
        return self._properties.integers.get(p.MESSAGE_EXPIRY_INTERVAL)

    @property
    def content_type(self) -> str | None:
        """What the publisher says the payload is (3.3.2.3.9)."""
        return self._properties.texts.get(p.CONTENT_TYPE)

    @property
    def response_topic(self) -> str | None:
        """Where the publisher wants an answer (3.3.2.3.5)."""
        return self._properties.texts.get(p.RESPONSE_TOPIC)

    @property
    def correlation_data(self) -> bytes | None:
        """What the answer must carry (3.3.2.3.6)."""
        return self._properties.binaries.get(p.CORRELATION_DATA)

    @property
    def user_properties(self) -> list[tuple[str, str]]:
        """Names and values in the publisher's order (3.3.2.3.7)."""
        return self._properties.user_properties

    @property
    def subscription_identifiers(self) -> list[int]:
        """Of the subscriptions that it comes for (3.3.2.3.8)."""
        return self._properties.subscription_identifiers

    def text(self) -> str:
        """The payload as UTF-8 text. Raises UnicodeDecodeError, a ValueError."""
        return self._payload.decode()

    def json(self, type: Any = Any) -> Any:
        """The payload as JSON, converted to `type`. Raises msgspec.DecodeError, a ValueError."""
        import msgspec  # noqa: PLC0415 (the engine itself needs none of it)

        return msgspec.json.decode(self._payload, type=type)

    def ack(self) -> None:
        """Acknowledge it: for streams with `manual_ack`, else it happens when the reader goes on (4.3.2, 4.3.3).

        Acknowledgements leave in the order of arrival [MQTT-4.6.0-2], so one may wait for those before it.
        """
        if self._identifier:
            self._session.host.consumed(self)

    def session(self) -> ClientSession:
        """The session that it came to."""
        return self._session

    def identifier(self) -> bytes:
        """The Packet Identifier as the engine names it (`engine.message.IDENTIFIERS`)."""
        return self._identifier

    def __repr__(self) -> str:
        shown = repr(self._payload if len(self._payload) <= 64 else self._payload[:64] + b"...")
        return f"Message({self._topic!r}, {shown}, qos={self.qos}{', retain=True' if self.retain else ''})"


@mypyc_attr(allow_interpreted_subclasses=True)
class Inbox:
    """Messages that wait for one reader, in order of arrival."""

    def __init__(self, maximum: int, overflow: int) -> None:
        """`overflow` says what happens past `maximum` messages: BLOCK, DROP_OLDEST, DROP_NEWEST or ERROR."""
        self.messages: deque[Message] = deque()
        self.maximum = maximum
        self.overflow = overflow
        self.dropped = 0
        """Messages that the reader will not get, because the inbox was full."""
        self.overflowed = False
        """An inbox that may not lose anything has (ERROR)."""
        self.waiting = False
        """Whether `wake` is wanted when a message comes."""

    def wake(self) -> None:
        """A message has come, and the reader asked to be told."""

    def add(self, message: Message) -> bool:
        """Take a message. False: the reader will not get it."""
        messages = self.messages
        if len(messages) >= self.maximum and not self._make_room(message):
            self.dropped += 1
            if self.waiting:
                self.waiting = False
                self.wake()
            return False
        messages.append(message)
        if self.waiting:
            self.waiting = False
            self.wake()
        return True

    def is_full(self) -> bool:
        """Whether nothing more should be read for now."""
        return self.overflow == BLOCK and len(self.messages) >= self.maximum

    def _make_room(self, message: Message) -> bool:
        if self.overflow == BLOCK:
            # QoS 1 and 2 are bounded by the Receive Maximum, as they are not acknowledged before they are read.
            return message.qos > 0 or len(self.messages) < self.maximum + BLOCK_SLACK_MESSAGES
        if self.overflow == DROP_OLDEST:
            oldest = self.messages.popleft()
            self.dropped += 1
            oldest.ack()
            return True
        if self.overflow == ERROR:
            self.overflowed = True
        return False
