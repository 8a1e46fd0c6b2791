"""CONNECT, enhanced authentication and the answer (3.1.4, 4.12, 3.2): who may come in, and with which session."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from tidewire.engine.limits import MAXIMUM_INTERVAL
from tidewire.engine.message import Message
from tidewire.engine.meter import REFUSED
from tidewire.engine.ports import Principal
from tidewire.wire import properties as p
from tidewire.wire.codes import V5, V31, V311, ReasonCode, return_code
from tidewire.wire.errors import ProtocolError
from tidewire.wire.fields import MAXIMUM_VARIABLE_BYTE_INTEGER
from tidewire.wire.packets import Auth, Connack, Connect, Will

if TYPE_CHECKING:
    from tidewire.engine.connection import Connection
    from tidewire.engine.session import Session

AWAITS_CONNECT: Final = 0
AUTHENTICATING: Final = 1
"""Somebody else finds out who it is: nothing is read."""
CHALLENGED: Final = 2
"""The client is to say more, with AUTH (4.12)."""
CONNECTED: Final = 3
DECIDING: Final = 4
"""Connected, and somebody else finds out whether it may do what it asks for: nothing is read."""

_HTTP: Final = b"CDGHOPT"
"""What the methods of HTTP begin with (RFC 9110, 9.1)."""


def no_connect(first: int) -> ProtocolError:
    """What is wrong with a connection that begins with this byte [MQTT-3.1.0-1]."""
    guess = "; is this HTTP?" if first in _HTTP else ""
    return ProtocolError(f"the first packet is of type {first >> 4}, not CONNECT{guess}")


def begin(connection: Connection, packet: Connect, now: float) -> None:
    """Section 3.1.4."""
    broker = connection.broker
    connection.version = packet.version
    _note_limits(connection, packet)
    identifier = packet.client_identifier
    if not identifier and packet.version != V5 and not (packet.version == V311 and packet.clean_start):
        refuse(connection, ReasonCode.CLIENT_IDENTIFIER_NOT_VALID, "no client identifier", now)
        return
    if len(identifier.encode()) > broker.limits.client_identifier_bytes:
        refuse(connection, ReasonCode.CLIENT_IDENTIFIER_NOT_VALID, "the client identifier is too long", now)
        return
    connection.connect = packet
    method = packet.properties.texts.get(p.AUTHENTICATION_METHOD)
    if method is not None:
        connection.exchange = broker.access.exchange(method, connection)
        if connection.exchange is None:
            refuse(connection, ReasonCode.BAD_AUTHENTICATION_METHOD, "unknown authentication method", now)
            return
        connection.authentication_method = method
        _step(connection, packet.properties.binaries.get(p.AUTHENTICATION_DATA, b""), now)
        return
    connection.state = AUTHENTICATING
    _answered(connection, packet, broker.access.authenticate(packet, connection), now)


def _answered(
    connection: Connection, packet: Connect, verdict: tuple[int, Principal | None] | None, now: float
) -> None:
    """Who it is, is known; None: not yet."""
    if verdict is None:
        connection.transport.pause_reading()
    else:
        connection.connect = None
        admit(connection, packet, verdict[0], verdict[1], now)


def go_on(connection: Connection, packet: Auth, now: float) -> None:
    """AUTH came: the client goes on with its authentication, or begins anew (4.12.1)."""
    method = connection.authentication_method
    if not method or packet.properties.texts.get(p.AUTHENTICATION_METHOD) != method:
        raise ProtocolError("AUTH names another authentication method than CONNECT")  # [MQTT-4.12.0-5, 4.12.0-7]
    if packet.reason_code == ReasonCode.RE_AUTHENTICATE:
        if connection.state != CONNECTED or connection.exchange is not None:
            raise ProtocolError("AUTH begins anew before the authentication has ended")
        connection.exchange = connection.broker.access.exchange(method, connection)
    elif packet.reason_code != ReasonCode.CONTINUE_AUTHENTICATION or connection.exchange is None:
        raise ProtocolError("AUTH goes on with an authentication that was not begun")
    if connection.exchange is None:  # the rules have changed, and do not know the method any more
        connection.close(ReasonCode.NOT_AUTHORIZED, "unknown authentication method", now)
        return
    _step(connection, packet.properties.binaries.get(p.AUTHENTICATION_DATA, b""), now)


def _step(connection: Connection, data: bytes, now: float) -> None:
    """Hand the client's data to its exchange, and the answer to the client."""
    exchange = connection.exchange
    assert exchange is not None
    reason_code, answer, principal = exchange.step(data)
    if reason_code == ReasonCode.CONTINUE_AUTHENTICATION:
        if connection.state != CONNECTED:
            connection.state = CHALLENGED
        _put_auth(connection, reason_code, answer)
        return
    connection.exchange = None
    packet = connection.connect
    if packet is not None:
        connection.authentication_data = answer
        connection.state = AUTHENTICATING
        verdict: tuple[int, Principal | None] | None = (reason_code, principal)
        if not reason_code and principal is not None:
            verdict = connection.broker.access.proven(packet, principal, connection)
        _answered(connection, packet, verdict, now)
        return
    session = connection.session
    assert session is not None
    if reason_code or principal is None or principal.user_name != session.principal.user_name:
        connection.close(ReasonCode.NOT_AUTHORIZED, "authentication failed", now)  # [MQTT-4.12.1-2]
        return
    _put_auth(connection, ReasonCode.SUCCESS, answer)


def _put_auth(connection: Connection, reason_code: int, data: bytes) -> None:
    packet = Auth(reason_code)
    packet.properties.texts[p.AUTHENTICATION_METHOD] = connection.authentication_method
    if data:
        packet.properties.binaries[p.AUTHENTICATION_DATA] = data
    connection.put_packet(packet)


def _note_limits(connection: Connection, packet: Connect) -> None:
    """What the client says that it can take (3.1.2.11)."""
    properties = packet.properties
    connection.peer_maximum_packet_size = properties.integer(p.MAXIMUM_PACKET_SIZE, 0)
    if connection.peer_maximum_packet_size > MAXIMUM_VARIABLE_BYTE_INTEGER + 5:
        connection.peer_maximum_packet_size = 0
    connection.peer_topic_aliases = min(
        properties.integer(p.TOPIC_ALIAS_MAXIMUM, 0), connection.broker.limits.outgoing_topic_aliases
    )


def admit(
    connection: Connection,
    packet: Connect,
    reason_code: int,
    principal: Principal | None,
    now: float,
) -> None:
    """Authentication is done: open the session and acknowledge (3.2), or refuse."""
    if reason_code or principal is None:
        refuse(connection, reason_code or ReasonCode.NOT_AUTHORIZED, "authentication failed", now)
        return
    broker = connection.broker
    limits = broker.limits
    connack = Connack()
    identifier = packet.client_identifier
    if not identifier:
        identifier = broker.new_client_identifier()
        connack.properties.texts[p.ASSIGNED_CLIENT_IDENTIFIER] = identifier
    if not broker.has_room_for(identifier):
        refuse(connection, ReasonCode.SERVER_BUSY, "no room for another session", now)
        return
    _set_keep_alive(connection, packet, connack)
    asked = packet.properties.integer(p.SESSION_EXPIRY_INTERVAL, 0)
    if connection.version != V5 and not packet.clean_start:
        asked = MAXIMUM_INTERVAL
    connection.ends_session = asked == 0
    expiry_interval = min(asked, limits.session_expiry_maximum_s)
    if connection.version == V5:
        integers = connack.properties.integers
        if expiry_interval != asked:
            integers[p.SESSION_EXPIRY_INTERVAL] = expiry_interval
        integers[p.RECEIVE_MAXIMUM] = limits.receive_maximum
        integers[p.MAXIMUM_PACKET_SIZE] = limits.maximum_packet_size
        integers[p.TOPIC_ALIAS_MAXIMUM] = limits.topic_alias_maximum
        if connection.authentication_method:
            connack.properties.texts[p.AUTHENTICATION_METHOD] = connection.authentication_method  # [MQTT-4.12.0-5]
            if connection.authentication_data:
                connack.properties.binaries[p.AUTHENTICATION_DATA] = connection.authentication_data
        if connection.is_too_large(connack.encode(V5)):
            refuse(connection, ReasonCode.IMPLEMENTATION_SPECIFIC_ERROR, "Maximum Packet Size is too small", now)
            return
    principal = broker.access.admitted(principal, identifier)
    if broker.hooks is not None:
        reason_code, principal = broker.hooks.connecting(connection, packet, identifier, principal)
        if reason_code:
            refuse(connection, reason_code, "refused", now)
            return
    if not broker.has_room_for_user(principal.user_name, identifier):
        refuse(connection, ReasonCode.QUOTA_EXCEEDED, f"{limits.connections_per_user} connections of this user", now)
        return
    account = broker.meter.account(identifier, principal.user_name)
    restraint = broker.meter.budgets.restraint(account)
    if restraint == REFUSED and connection.version != V5:
        refuse(connection, ReasonCode.QUOTA_EXCEEDED, "its budget is used up", now)
        return
    session, present = broker.open_session(connection, identifier, principal, packet.clean_start, now)
    session.expiry_interval = expiry_interval
    _set_will(session, packet.will)
    connection.session = session
    connection.account = account
    account.connections += 1
    connection.state = CONNECTED
    connection.maximum_packet_size = limits.maximum_packet_size
    connection.refresh_passthrough()
    connack.session_present = present and connection.version != V31
    broker.session_opened(session, connection, present, now)
    connection.hold_for(session)
    connection.put_packet(connack)
    connection.window = min(limits.inflight_maximum, packet.properties.integer(p.RECEIVE_MAXIMUM, 65_535))
    connection.restrain(restraint, now)
    session.resume(connection, session.window, now)


def _set_keep_alive(connection: Connection, packet: Connect, connack: Connack) -> None:
    """Keep Alive (3.1.2.10), or ours where it is shorter and the version can say so (3.2.2.3.14)."""
    maximum = connection.broker.limits.keep_alive_maximum_s
    connection.keep_alive = packet.keep_alive
    if maximum and connection.version == V5 and (not connection.keep_alive or connection.keep_alive > maximum):
        connection.keep_alive = maximum
        connack.properties.integers[p.SERVER_KEEP_ALIVE] = maximum


def _set_will(session: Session, will: Will | None) -> None:
    """Section 3.1.2.5."""
    session.will = None
    session.will_delay = 0
    if will is None:
        return
    session.will_delay = will.properties.integers.pop(p.WILL_DELAY_INTERVAL, 0)
    expiry = will.properties.integers.pop(p.MESSAGE_EXPIRY_INTERVAL, -1)
    session.will = Message(
        will.topic,
        will.payload,
        will.qos,
        will.retain,
        will.properties.encode_body(),
        float(expiry),  # counted from its publication: `Broker.publish_will`
        session.client_identifier,
    )


def refuse(connection: Connection, reason_code: int, detail: str, now: float) -> None:
    """A CONNACK that says no, and the end [MQTT-3.1.4-2, 3.2.2-7]."""
    if connection.version == V5:
        connection.put_explained(Connack(False, reason_code), detail)
    else:
        connection.put_packet(Connack(False, return_code(reason_code)))
    connection.finish(reason_code, detail, False, now)
