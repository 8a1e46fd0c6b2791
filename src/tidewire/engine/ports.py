"""What the outside must provide to the engine.

The server (or a test) subclasses these; every method has a plain default, so that an engine without an outside works.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from mypy_extensions import mypyc_attr

if TYPE_CHECKING:
    from tidewire.engine.changes import SessionNotes
    from tidewire.engine.connection import Connection
    from tidewire.engine.delivery import Delivery
    from tidewire.engine.message import Message
    from tidewire.engine.routing import Subscription
    from tidewire.engine.session import Session
    from tidewire.wire.packets import Connect, SubscriptionRequest


class Transport(Protocol):
    """Where a connection's bytes go: what an asyncio transport already is."""

    def write(self, data: bytes) -> None:
        """Send whole packets: a WebSocket puts each into a frame."""

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
        self.expires_at = 0.0
        """When the connection is cut off, 0.0 for never: a token proves a name for so long only."""
        self.grants: object | None = None
        """What `Access` has noted of this client alone; the engine only carries it."""
        self.publish_decisions: dict[bytes, bool] = {}
        """What `decided_by` said at its `decisions_epoch`."""
        self.decided_by: Access | None = None
        self.decisions_epoch = -1


class Certificate:
    """What a client's TLS certificate says of it, once it was verified."""

    def __init__(
        self, common_name: str, subject_alternative_names: tuple[str, ...], fingerprint: str, identity: str
    ) -> None:
        """`identity`: the name among these by which the listener knows the client; empty where it knows none."""
        self.common_name = common_name
        self.subject_alternative_names = subject_alternative_names
        self.fingerprint = fingerprint
        self.identity = identity


@mypyc_attr(allow_interpreted_subclasses=True)
class Exchange:
    """One enhanced authentication (4.12), from the client's first data to its end."""

    def step(self, data: bytes) -> tuple[int, bytes, Principal | None]:
        """(reason code, data for the client, principal) for the client's data. 0x18: it is asked for more; 0: it is
        who the principal says; 0x80 and above: it is refused. Must not raise whatever the data are."""
        return 0x87, b"", None


class Undecided(Exception):
    """Raised by `Access.may_publish` and `may_subscribe` when the answer has to be fetched: `decide` fetches it."""

    def __init__(self, principal: Principal, action: str, topic: bytes) -> None:
        super().__init__(action, topic)
        self.principal = principal
        self.action = action
        """"publish" or "subscribe"."""
        self.topic = topic


@mypyc_attr(allow_interpreted_subclasses=True)
class Access:
    """Who may connect, and who may do what. This base allows everything."""

    def __init__(self) -> None:
        self.unrestricted = True
        """When true, the engine does not ask the other questions at all."""
        self.fetches = False
        """Whether some answers have to be fetched: only then is Undecided raised."""
        self.epoch = 0
        """Moves when the rules change; answers given before are forgotten."""
        self.denied_code = 0x87
        """What a SUBACK, PUBACK or PUBREC says of a refusal: 0x87 not authorized, or 0x80 to give nothing away."""

    def authenticate(self, packet: Connect, connection: Connection) -> tuple[int, Principal | None] | None:
        """(reason code, principal) of a connecting client; None: the answer comes by `connection.authenticated`, later.

        `connection.peer` is the address it comes from, `connection.certificate` what its certificate says.
        """
        return 0, EVERYBODY

    def proven(
        self, packet: Connect, principal: Principal, connection: Connection
    ) -> tuple[int, Principal | None] | None:
        """The same of a client that an exchange has shown to be `principal`, and that connects."""
        return 0, principal

    def exchange(self, method: str, connection: Connection) -> Exchange | None:
        """A new exchange for an Authentication Method; None for a method that is not known (0x8C)."""
        return None

    def admitted(self, principal: Principal, client_identifier: str) -> Principal:
        """The principal under the client identifier that it has been given; the same where that decides nothing.

        Asked once more of all sessions when the rules have changed.
        """
        return principal

    def resumed(self, before: Principal, principal: Principal) -> None:
        """A session that had one principal goes on with another."""

    def may_publish(self, principal: Principal, topic: bytes) -> bool:
        """Raises Undecided."""
        return True

    def may_keep(self, principal: Principal, client_identifier: str, topic: bytes) -> bool:
        """Whether what a client has published by permission, a retained message, may still be handed on.

        Asked when `epoch` has moved since. The client may be long gone.
        """
        return self.may_publish(principal, topic)

    def may_subscribe(self, principal: Principal, topic_filter: bytes) -> bool:
        """False when every topic that the filter (without its share name) matches is denied. Raises Undecided."""
        return True

    def may_read(self, principal: Principal, topic: bytes) -> bool:
        """Whether one message may be delivered, asked when a route is built."""
        return True

    def decide(self, undecided: Undecided, connection: Connection) -> None:
        """Fetch an answer, and call `connection.decided` when the question can be asked again; never at once."""
        raise NotImplementedError


@mypyc_attr(allow_interpreted_subclasses=True)
class Hooks:
    """Where the program that runs the broker has its say, after the access rules. None of these may raise.

    Asked only where there are hooks. This base changes nothing.
    """

    def __init__(self) -> None:
        self.publishes = False
        """When false, `publishing` is not asked at all, and runs of QoS 0 stay whole."""

    def connecting(
        self, connection: Connection, packet: Connect, client_identifier: str, principal: Principal
    ) -> tuple[int, Principal]:
        """(reason code, who it is) for a client that was authenticated; 0 lets it in."""
        return 0, principal

    def publishing(self, session: Session, message: Message, is_will: bool, now: float) -> tuple[int, Message]:
        """(reason code, what to publish in its place) for a client's message; 0 lets it pass."""
        return 0, message

    def subscribing(self, session: Session, request: SubscriptionRequest) -> int:
        """The QoS to grant, at most the one that is asked for, or a reason code that refuses."""
        return request.qos


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


class StoredSession:
    """A session as a store gives it back."""

    def __init__(self, client_identifier: str, user_name: str | None, expiry_interval: int) -> None:
        self.client_identifier = client_identifier
        self.user_name = user_name
        self.expiry_interval = expiry_interval
        self.subscriptions: dict[bytes, tuple[int, bool, bool, int]] = {}
        """Topic filter → (QoS, No Local, Retain As Published, Subscription Identifier)."""
        self.inflight: dict[bytes, Message | None] = {}
        """Packet identifier → message, or None once its PUBREL was sent; in the order of sending."""
        self.queue: list[Message] = []
        self.received: set[bytes] = set()
        """QoS 2 packet identifiers of the client that wait for PUBREL."""
        self.will: Message | None = None
        self.will_delay = 0
        self.ends_at = 0.0
        """When it ends; 0.0: it was connected when the store was told last."""
        self.will_at = 0.0
        """When its will is due, if that was known by then."""
        self.notes: SessionNotes | None = None
        """What `Session.notes` is to be."""


class Provenance:
    """Who published a retained message, beside the client identifier that stands in it, and when."""

    def __init__(self, user_name: str | None, address: str, published_at: float) -> None:
        self.user_name = user_name
        self.address = address
        self.published_at = published_at
        """As `now` is."""


@mypyc_attr(allow_interpreted_subclasses=True)
class Store:
    """Where sessions and messages outlive the process: told of every change, in the order in which they happen.

    Only sessions that outlive their connection are told of. What promises something to a peer leaves when that is
    safe: `barrier` answers 0 when it is already, else a ticket, and `Broker.committed(ticket)` is called when it has
    come true.
    """

    def __init__(self) -> None:
        self.failing = False
        """Commits fail: what is not safe is not promised, and nothing waits for it."""

    def load(self, now: float) -> tuple[list[StoredSession], list[tuple[Message, Provenance]]]:
        """Sessions and retained messages of the last life. Times are as `now` is."""
        return [], []

    def barrier(self) -> int:
        """0: all that was told is safe; else the ticket, larger each time, of the commit that will make it so."""
        return 0

    def barrier_of(self, message: Message) -> int:
        """The same of one message: 0 as well when no session needs it any more."""
        return self.barrier()

    def upcoming(self) -> int:
        """The ticket that `barrier` will answer for what is told next."""
        return 0

    def topics(self) -> dict[str, str]:
        """What `$SYS/broker/store/…` says of it."""
        return {}

    def session_kept(self, session: Session) -> None:
        """A session that outlives its connection was opened or left, with this expiry and will.

        Told of a session for the first time, a store takes over all that the session holds by then.
        """

    def session_ended(self, session: Session) -> None: ...

    def subscribed(self, session: Session, subscription: Subscription) -> None:
        """A subscription was made or replaced."""

    def unsubscribed(self, session: Session, topic_filter: bytes) -> None: ...

    def retained(self, topic: bytes, message: Message | None, provenance: Provenance | None) -> None:
        """The retained message of a topic was set, or cleared with None."""

    def kept(self, delivery: Delivery, message: Message) -> None:
        """A QoS 1 or 2 message is the session's now."""

    def sent(self, delivery: Delivery, identifier: bytes, message: Message) -> None:
        """The message that was kept first of those that are not yet sent took a packet identifier."""

    def under_way(self, delivery: Delivery, identifier: bytes, message: Message) -> None:
        """A QoS 1 message was kept and sent at once."""
        self.kept(delivery, message)
        self.sent(delivery, identifier, message)

    def released(self, delivery: Delivery, identifier: bytes) -> None:
        """PUBREC came: from here on there is only PUBREL to send."""

    def settled(self, delivery: Delivery, identifier: bytes, message: Message) -> None:
        """A message was acknowledged, or dropped; the identifier is empty for one that was never sent."""

    def received(self, delivery: Delivery, identifier: bytes) -> None:
        """A QoS 2 message of the client was taken."""

    def forgotten(self, delivery: Delivery, identifier: bytes) -> None:
        """Its PUBREL came."""


EVERYBODY = Principal(None, "")
