"""What the outside must provide to the engine.

The server (or a test) subclasses these; every method has a plain default, so that an engine without an outside works.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from mypy_extensions import mypyc_attr

if TYPE_CHECKING:
    from tidewire.engine.connection import Connection
    from tidewire.engine.message import Message
    from tidewire.engine.session import Session
    from tidewire.wire.packets import Connect


class Transport(Protocol):
    """Where a connection's bytes go: what an asyncio transport already is."""

    def write(self, data: bytes) -> None: ...
    def close(self) -> None:
        """Send what was written, then close."""

    def abort(self) -> None:
        """Close at once."""

    def can_write_eof(self) -> bool: ...
    def write_eof(self) -> None: ...
    def pause_reading(self) -> None: ...
    def resume_reading(self) -> None: ...


@mypyc_attr(allow_interpreted_subclasses=True)
class Principal:
    """Who a connection is, for access decisions. Connections that get the same answers may share one."""

    def __init__(self, user_name: str | None, client_identifier: str) -> None:
        self.user_name = user_name
        self.client_identifier = client_identifier
        self.publish_decisions: dict[bytes, bool] = {}
        self.decisions_epoch = -1


@mypyc_attr(allow_interpreted_subclasses=True)
class Access:
    """Who may connect, and who may do what. This base allows everything."""

    def __init__(self) -> None:
        self.unrestricted = True
        """When true, the engine does not ask the other questions at all."""
        self.epoch = 0
        """Moves when the rules change; answers given before are forgotten."""
        self.denied_code = 0x87
        """What a SUBACK, PUBACK or PUBREC says of a refusal: 0x87 not authorized, or 0x80 to give nothing away."""

    def authenticate(self, packet: Connect, connection: Connection) -> tuple[int, Principal | None] | None:
        """(reason code, principal) of a connecting client; None: the answer comes by `connection.authenticated`, later.

        `connection.peer` is the address it comes from.
        """
        return 0, EVERYBODY

    def may_publish(self, principal: Principal, topic: bytes) -> bool:
        return True

    def may_subscribe(self, principal: Principal, topic_filter: bytes) -> bool:
        """False when every topic that the filter (without its share name) matches is denied."""
        return True

    def may_read(self, principal: Principal, topic: bytes) -> bool:
        """Whether one message may be delivered, asked when a route is built."""
        return True


@mypyc_attr(allow_interpreted_subclasses=True)
class Events:
    """What happened, for logs and hooks; nothing per message. The engine does not wait for anybody here."""

    def connected(self, session: Session, peer: str, resumed: bool) -> None: ...

    def disconnected(self, client_identifier: str, peer: str, reason_code: int, detail: str) -> None: ...

    def refused(self, client_identifier: str, peer: str, reason_code: int, detail: str) -> None:
        """A connection that ended before it had a session."""

    def denied(self, client_identifier: str, action: str, topic: bytes) -> None:
        """An access rule stopped a publish, subscribe or will."""

    def dropped(self, client_identifier: str, reason: str, messages: int) -> None:
        """A burst of dropped messages: once when it begins and once, with the total, when it has ended."""

    def fault(self, client_identifier: str, error: BaseException) -> None:
        """An error of our own while a peer's bytes were handled; its connection is closed."""


@mypyc_attr(allow_interpreted_subclasses=True)
class Store:
    """Where sessions and messages outlive the process. This base keeps nothing.

    The engine calls it in the order in which things happen. `keep` answers whether the log already has the message: an
    acknowledgement that waits leaves when the store calls `Broker.committed(ticket)`.
    """

    def load(self) -> tuple[list[Session], list[Message]]:
        """Sessions (with subscriptions, in-flight and queued messages) and retained messages of the last life."""
        return [], []

    def session_kept(self, session: Session) -> None:
        """A session began, or its expiry, will or connection changed."""

    def session_ended(self, session: Session) -> None: ...

    def subscribed(self, session: Session, topic_filter: bytes) -> None: ...

    def unsubscribed(self, session: Session, topic_filter: bytes) -> None: ...

    def retained(self, topic: bytes, message: Message | None) -> None:
        """The retained message of a topic was set, or cleared with None."""

    def keep(self, message: Message, sessions: list[Session], ticket: int) -> bool:
        """A QoS 1 or 2 message now belongs to these persistent sessions. True: it is safe; False: it will be."""
        return True

    def settled(self, session: Session, message: Message) -> None:
        """A session acknowledged a message, or dropped it."""

    def received(self, session: Session, packet_identifier: int, open_: bool) -> None:
        """A QoS 2 identifier of a publisher was taken (True) or released (False)."""


EVERYBODY = Principal(None, "")
