"""The server's side of one connection: bytes in, one packet after the other, answers onto the outbox.

`receive` walks once over what one read brought. PUBLISH and its acknowledgements are read in place
(`engine.publishing`), everything else by `wire.packets.decode`; CONNECT is `engine.handshake`'s.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from mypy_extensions import i64

from tidewire.engine import handshake
from tidewire.engine.allowance import Allowance
from tidewire.engine.handshake import AUTHENTICATING, AWAITS_CONNECT, CHALLENGED, CONNECTED, DECIDING
from tidewire.engine.message import IDENTIFIERS
from tidewire.engine.meter import RECEIVED, REFUSED, SENT, THROTTLED
from tidewire.engine.ports import Certificate, Exchange, Principal, Transport, Undecided
from tidewire.engine.publishing import Publishing
from tidewire.engine.reading import PUBCOMP_HEAD, packet_identifier
from tidewire.wire import properties as p
from tidewire.wire.codes import (
    AUTH,
    CONNACK,
    CONNECT,
    DISCONNECT,
    PUBLISH,
    SUBACK_FAILURE,
    SUBSCRIBE,
    V5,
    V311,
    ConnectReturnCode,
    ReasonCode,
)
from tidewire.wire.errors import ProtocolError, ProtocolViolation, UnsupportedVersion
from tidewire.wire.framing import find_packet
from tidewire.wire.packets import (
    Acknowledgement,
    Auth,
    Connack,
    Connect,
    Disconnect,
    Packet,
    Pingreq,
    Pingresp,
    Suback,
    Subscribe,
    Unsuback,
    Unsubscribe,
    decode,
)
from tidewire.wire.topics import split_share

if TYPE_CHECKING:
    from tidewire.engine.broker import Broker
    from tidewire.engine.session import Session

_PINGRESP: Final = b"\xd0\x00"


class Connection(Publishing):
    """One client's network connection, from accept to close."""

    def __init__(self, broker: Broker, transport: Transport, peer: str, now: float) -> None:
        super().__init__(broker, transport)
        self.peer = peer
        """The address it comes from, for logs and access."""
        self.certificate: Certificate | None = None
        """What the listener has verified."""
        self.keep_alive = 0
        self.last_received = now
        self.state = AWAITS_CONNECT
        self.maximum_packet_size = broker.limits.connect_packet_bytes
        self.connect: Connect | None = None
        """The CONNECT whose authentication is under way."""
        self.ends_session = False
        """Its CONNECT asked for a session that ends with it (3.1.2.11.2)."""
        self.authentication_method = ""
        """Of enhanced authentication (3.1.2.11.9), empty for none."""
        self.authentication_data = b""
        """Of the server, for CONNACK (3.2.2.3.18)."""
        self.exchange: Exchange | None = None
        """The enhanced authentication that is under way, at CONNECT or later."""
        self.account = broker.meter.nobody
        """What it costs whom."""
        self.window = 0
        """Messages that may be in flight to it, a budget apart."""
        self.allowance: Allowance | None = None
        """What it may publish, where that is limited."""
        self._held_until = 0.0
        """It is not read from before then, because it has published more than it may; 0.0: it is."""
        self._reading_paused = False
        self._only_messages = False
        self._deadline = now + broker.limits.connect_timeout_s
        """When a connection that is not (or not any more) connected ends, whatever else happens."""
        broker.timers.add(self._deadline, self, now)

    # -- what the server calls

    def receive(self, data: bytes, now: float) -> bool:
        """Bytes from the peer. Never raises: a violation or an error of ours ends this connection only.

        True: there were only messages and acknowledgements, which need not wait for the end of the pass.
        """
        if self.closed:
            return False
        self.last_received = now
        self.broker.statistics.bytes_received += len(data)
        self.bytes_received += len(data)
        self.reads += 1
        self._only_messages = True
        if self.allowance is None:
            self._receive_guarded(data, now)
        else:
            self._receive_measured(self.allowance, data, now)
        return self._only_messages

    def _receive_measured(self, allowance: Allowance, data: bytes, now: float) -> None:
        """Read, and see that the client publishes no more than it may: 5.0 has codes for it, before it is held back."""
        statistics = self.broker.statistics
        messages, size = statistics.publish_received, statistics.publish_bytes_received
        self.refusing = self.barred or (self.version == V5 and allowance.wait_s(now) > 0.0)
        self._receive_guarded(data, now)
        if self.refusing or self.closed:
            return
        allowance.spend(statistics.publish_received - messages, statistics.publish_bytes_received - size)
        wait_s = allowance.wait_s(now) if self.version != V5 else 0.0
        if wait_s > 0.0 and not self._held_until:
            statistics.publishers_held_back += 1
            self._held_until = self.last_received = now + wait_s  # it cannot be heard meanwhile
            self.transport.pause_reading()
            self.broker.timers.add(self._held_until, self, now)

    def _receive_guarded(self, data: bytes, now: float) -> None:
        try:
            self._receive(data, now)
        except ProtocolViolation as violation:
            self._violated(violation, now)
        except Exception as error:
            self.failed(error, now)
        if self.blocked and self.outbox_bytes > self.broker.limits.unread_answer_bytes and not self._reading_paused:
            self._reading_paused = True
            self.transport.pause_reading()

    def lost(self, detail: str, now: float) -> None:
        """The network connection is gone, and not because we closed it."""
        if not self.closed:
            self.abandon_held()
            self.abandon()
            self.next_look = 0.0
            self._leave(ReasonCode.UNSPECIFIED_ERROR, detail, False, now)

    def authenticated(self, reason_code: int, principal: Principal | None, now: float) -> None:
        """The answer that `Access.authenticate` left open. Never raises."""
        if self.closed or self.state != AUTHENTICATING:
            return
        packet = self.connect
        assert packet is not None
        self.connect = None
        try:
            handshake.admit(self, packet, reason_code, principal, now)
        except Exception as error:
            self.failed(error, now)
        self._read_on(now)

    def decided(self, now: float) -> None:
        """What `Access.decide` was asked for is known. Never raises."""
        if not self.closed and self.state == DECIDING:
            self.state = CONNECTED
            self.last_received = now  # it could not be heard meanwhile
            self._read_on(now)

    def _read_on(self, now: float) -> None:
        """Read what waited."""
        if not self.closed:
            if not self._reading_paused and not self._held_until:
                self.transport.resume_reading()
            kept = self.kept
            self.kept = b""
            self._receive_guarded(kept, now)

    def restrain(self, restraint: int, now: float) -> None:
        """Go by what is left of the client's budget: all it wants, as much as it is throttled to, or nothing.

        5.0 can be told that a message is refused, and its client stays; before, only the connection can end."""
        limits = self.broker.limits
        messages, size = limits.publish_messages_per_s, limits.publish_bytes_per_s
        if restraint == THROTTLED:
            some, few = self.broker.meter.budgets.allowance(self.account)
            messages = min(messages or some, some or messages)
            size = min(size or few, few or size)
        self.allowance = Allowance(messages, size, now) if messages or size else None
        session = self.session
        assert session is not None
        self.refusing = self.barred = restraint == REFUSED
        session.window = 0 if self.barred else self.window
        self.refresh_passthrough()
        if not self.barred:
            session.pump(now)
        elif self.version != V5:
            self.close(ReasonCode.QUOTA_EXCEEDED, "its budget is used up", now)

    def unblocked(self, now: float) -> None:
        """The transport takes bytes again."""
        self.unblock()
        if self._reading_paused:
            self._reading_paused = False
            if self.state != DECIDING and not self._held_until:
                self.transport.resume_reading()
        if self.session is not None and not self.closed:
            self.session.pump(now)

    def close(self, reason_code: int, detail: str, now: float) -> None:
        """End the connection from our side, with a DISCONNECT where the version has one (3.14)."""
        if self.closed:
            return
        self.abandon_held()
        if self.version == V5 and self.state >= CONNECTED:
            self.put_explained(Disconnect(reason_code), detail)
        self.finish(reason_code, detail, False, now)

    def due(self, now: float) -> None:
        """Connect time-out, keep-alive, a proof that has expired, and the cut of a closed connection that does not
        drain."""
        if (self.closed or self.state < CONNECTED) and now < self._deadline:
            self.broker.timers.add(self._deadline, self, now)
            return
        if self.closed:
            self.transport.abort()
            return
        session = self.session
        if 0.0 < self._held_until <= now:
            self._held_until = 0.0
            if self.state != DECIDING and not self._reading_paused:
                self.transport.resume_reading()
        if session is None:
            what = "no CONNECT in time" if self.connect is None else "authentication has not ended in time"
            self.close(ReasonCode.KEEP_ALIVE_TIMEOUT, what, now)
        elif 0.0 < session.principal.expires_at <= now:
            self.close(ReasonCode.MAXIMUM_CONNECT_TIME, "what it proved its name by has expired", now)
        elif self.keep_alive and self.state == CONNECTED and now >= self._keep_alive_deadline():
            self.close(ReasonCode.KEEP_ALIVE_TIMEOUT, "keep alive time-out", now)
        else:
            self.plan(now)

    def plan(self, now: float) -> None:
        """Ask to be looked at when the next deadline of a connected client comes."""
        session = self.session
        if session is not None and session.principal.expires_at > 0.0:
            self.broker.timers.add(session.principal.expires_at, self, now)
        if self.keep_alive:
            self.broker.timers.add(max(now, self._keep_alive_deadline()), self, now)
        if self._held_until:
            self.broker.timers.add(self._held_until, self, now)

    def _keep_alive_deadline(self) -> float:
        return self.last_received + 1.5 * self.keep_alive

    # -- reading

    def _receive(self, data: bytes, now: float) -> None:
        if self.kept or self.chunks is not None:
            data = self.join(data)
            if not data:
                return
        statistics = self.broker.statistics
        size: i64 = len(data)
        position: i64 = 0
        packets: i64 = 0
        try:
            while position < size:
                if self.state != CONNECTED:
                    self._only_messages = False
                    if self.state == AUTHENTICATING or self.state == DECIDING or self.closed:
                        break
                    if self.state == CHALLENGED:
                        following = self._read_answer(data, position, now)
                    else:
                        following = self._read_connect(data, position, now)
                    if following == position:
                        break
                    position = following
                    packets += 1
                    continue
                body = position + 2
                if body > size:
                    break
                length: i64 = data[position + 1]
                end: i64 = body + length
                if length >= 0x80:
                    found_body, found_end = find_packet(data, position, self.maximum_packet_size, self.version == V5)
                    body = found_body
                    end = found_end
                    if end < 0:
                        break
                if end > size:
                    self.missing = end - size
                    break
                first: i64 = data[position]
                packets += 1
                if first == 0x30:
                    following = self.publish_run(data, position, body, end, size, now)
                    packets += (following - end) // (end - position)
                    position = following
                    continue
                if first >> 4 == PUBLISH:
                    self.publish(first, data, position, body, end, now)
                elif length == 2 and (first == 0x40 or first == 0x50 or first == 0x62 or first == 0x70):
                    identifier = packet_identifier(data, body)
                    if first == 0x40:
                        self.pubacks_received += 1
                    elif first == 0x50:
                        self.traffic.pubrecs_received += 1
                    elif first == 0x62:
                        self.traffic.pubrels_received += 1
                    else:
                        self.traffic.pubcomps_received += 1
                    self._acknowledged(first, identifier, 0, now)
                elif first == 0xC0 and length == 0:
                    self.put(_PINGRESP)
                    self.traffic.pings += 1
                    statistics.control_sent += 1
                elif first == 0x10:
                    raise ProtocolError("a second CONNECT")  # [MQTT-3.1.0-2], whatever it holds
                elif end - position > self.broker.limits.control_packet_bytes:
                    raise ProtocolViolation(
                        ReasonCode.QUOTA_EXCEEDED,
                        f"a packet without payload has more than {self.broker.limits.control_packet_bytes} bytes",
                    )
                else:
                    self._only_messages = False
                    packet = decode(int(first), data, int(body), int(end), self.version)
                    self.traffic.count(RECEIVED, int(first >> 4), 1, int(end - position))
                    self._handle(packet, now)
                position = end
                if self.closed:
                    break
        except Undecided as undecided:
            packets -= 1  # the packet at `position` is read once more when the answer is there
            if data[position] >> 4 == SUBSCRIBE:
                self.traffic.count(RECEIVED, SUBSCRIBE, -1, int(position - end))
            self._await_decision(undecided)
        statistics.messages_received += packets
        if self.closed:
            return
        self.keep(data, position)

    def _await_decision(self, undecided: Undecided) -> None:
        self._only_messages = False
        self.state = DECIDING
        self.transport.pause_reading()
        self.broker.access.decide(undecided, self)

    def _read_connect(self, data: bytes, position: i64, now: float) -> i64:
        """The first packet, which must be CONNECT [MQTT-3.1.0-1]; returns `position` while it is not whole."""
        first: i64 = data[position]
        if first >> 4 != CONNECT:
            raise handshake.no_connect(data[position])
        body, end = find_packet(data, position, self.maximum_packet_size)
        if end < 0 or end > len(data):
            return position
        if data[body : body + 7] == b"\x00\x04MQTT\x05":
            self.version = V5  # so that a fault in the rest of it can be answered
        packet = decode(int(first), data, body, end, V311)
        assert isinstance(packet, Connect)
        if packet.version == V5:
            find_packet(data, position, self.maximum_packet_size, True)  # now that it says what it is [MQTT-1.5.5-1]
        self.traffic.count(RECEIVED, CONNECT, 1, int(end - position))
        handshake.begin(self, packet, now)
        return end

    def _read_answer(self, data: bytes, position: i64, now: float) -> i64:
        """What may come between CONNECT and CONNACK [MQTT-3.1.2-30]; returns `position` while it is not whole."""
        first: i64 = data[position]
        if first >> 4 != AUTH and first >> 4 != DISCONNECT:
            raise ProtocolError("only AUTH or DISCONNECT may come before the authentication has ended")
        body, end = find_packet(data, position, self.maximum_packet_size, True)
        if end < 0 or end > len(data):
            return position
        packet = decode(int(first), data, body, end, self.version)
        self.traffic.count(RECEIVED, int(first >> 4), 1, int(end - position))
        if isinstance(packet, Auth):
            handshake.go_on(self, packet, now)
        else:
            self.finish(ReasonCode.SUCCESS, "the client has left before its authentication ended", True, now)
        return end

    # -- other packets

    def _acknowledged(self, first: i64, identifier: bytes, reason_code: int, now: float) -> None:
        """PUBACK, PUBREC, PUBREL or PUBCOMP of a checked form."""
        session = self.session
        assert session is not None
        if first == 0x40:
            session.acknowledge(identifier, reason_code, now)
        elif first == 0x50:
            session.pubrec(identifier, reason_code, now)
        elif first == 0x70:
            session.complete(identifier, now)
        elif session.release(identifier):
            self.hold_for(session)  # a next life that knew the identifier would take its next use for a repetition
            self.put_answer(PUBCOMP_HEAD, identifier, 0)
        else:
            self.put_answer(PUBCOMP_HEAD, identifier, ReasonCode.PACKET_IDENTIFIER_NOT_FOUND)

    def _handle(self, packet: Packet, now: float) -> None:
        """Everything that is not on the hot path."""
        if isinstance(packet, Subscribe):
            self._subscribe(packet, now)
        elif isinstance(packet, Unsubscribe):
            self._unsubscribe(packet, now)
        elif isinstance(packet, Acknowledgement):
            first = packet.packet_type << 4 | (2 if packet.packet_type == 6 else 0)
            self._acknowledged(first, IDENTIFIERS[packet.packet_identifier], packet.reason_code, now)
        elif isinstance(packet, Pingreq):
            self.put_packet(Pingresp())  # its length was spelled with more bytes than it needs, as 3.1.1 allows
        elif isinstance(packet, Disconnect):
            self._disconnected(packet, now)
        elif isinstance(packet, Auth):
            handshake.go_on(self, packet, now)
        else:
            raise ProtocolError(f"{type(packet).__name__} is not for a server")

    def _subscribe(self, packet: Subscribe, now: float) -> None:
        """Section 3.8.4. Raises Undecided, and nothing has been done then."""
        session = self.session
        assert session is not None
        broker = self.broker
        if broker.access.fetches:
            for request in packet.requests:
                broker.access.may_subscribe(session.principal, split_share(request.topic_filter)[1])
        identifiers = packet.properties.subscription_identifiers
        identifier = identifiers[0] if identifiers else 0
        codes: list[int] = []
        for request in packet.requests:
            code = broker.subscribe(session, request, identifier, now)
            codes.append(SUBACK_FAILURE if code >= 0x80 and self.version != V5 else code)
        self.hold_for(session)
        self.put_packet(Suback(packet.packet_identifier, codes))
        session.pump(now)

    def _unsubscribe(self, packet: Unsubscribe, now: float) -> None:
        """Section 3.10.4."""
        session = self.session
        assert session is not None
        codes: list[int] = []
        for topic_filter in packet.topic_filters:
            existed = self.broker.unsubscribe(session, topic_filter)
            codes.append(ReasonCode.SUCCESS if existed else ReasonCode.NO_SUBSCRIPTION_EXISTED)
        self.hold_for(session)
        self.put_packet(Unsuback(packet.packet_identifier, codes))

    def _disconnected(self, packet: Disconnect, now: float) -> None:
        """The client says good-bye (3.14.4)."""
        session = self.session
        assert session is not None
        expiry = packet.properties.integers.get(p.SESSION_EXPIRY_INTERVAL)
        if expiry is not None:
            if self.ends_session and expiry != 0:
                raise ProtocolError("DISCONNECT prolongs a session that CONNECT declared to end with its connection")
            session.expiry_interval = min(expiry, self.broker.limits.session_expiry_maximum_s)
        with_will = packet.reason_code != ReasonCode.SUCCESS
        self.finish(packet.reason_code, "client disconnected", not with_will, now)

    # -- the end

    def _violated(self, violation: ProtocolViolation, now: float) -> None:
        """The peer broke the protocol (4.13)."""
        if self.state >= CONNECTED:
            self.close(violation.reason_code, violation.detail, now)
            return
        if isinstance(violation, UnsupportedVersion):
            # Every version's clients understand the 3.1.1 form [MQTT-3.1.2-2].
            encoded = Connack(False, ConnectReturnCode.UNACCEPTABLE_PROTOCOL_VERSION).encode(V311)
            self.put(encoded)
            self.traffic.count(SENT, CONNACK, 1, len(encoded))
        elif self.version == V5:
            self.put_explained(Connack(False, violation.reason_code), violation.detail)
        self.finish(violation.reason_code, violation.detail, False, now)

    def failed(self, error: Exception, now: float) -> None:
        """An error of ours: it is reported, and costs this connection only."""
        self.broker.events.fault(self.client_identifier(), error)
        self.close(ReasonCode.UNSPECIFIED_ERROR, "internal error", now)

    def finish(self, reason_code: int, detail: str, without_will: bool, now: float) -> None:
        """Flush, close, and leave the session to itself."""
        self.abandon_held()
        self.blocked = False  # what waits is the transport's now, in front of our last word
        self.flush()
        try:
            self._end_stream(reason_code)
        except OSError:
            self.transport.abort()  # reset by the peer, and asyncio has not told us yet
        self.next_look = 0.0
        self._deadline = now + self.broker.limits.closing_grace_s
        self.broker.timers.add(self._deadline, self, now)
        self._leave(reason_code, detail, without_will, now)

    def _end_stream(self, reason_code: int) -> None:
        """Close our side of the stream, or both."""
        if reason_code >= 0x80 and self.transport.can_write_eof():
            # Bytes still unread would make the close a reset, and the peer might never see why: let it end the stream.
            self.transport.write_eof()
            self.transport.resume_reading()  # else the end would not be seen where reading was paused
        else:
            self.transport.close()

    def _leave(self, reason_code: int, detail: str, without_will: bool, now: float) -> None:
        """Nothing is read or sent any more."""
        self.closed = True
        self.passthrough = 0
        self.kept = b""
        self.chunks = None
        self.forget_publishing()
        self.broker.meter.collect(self, self.account)
        if self.traffic.below is not None:
            self.traffic.below.look()
        session = self.session
        if session is None:
            self.broker.statistics.connections_refused += 1
            self.broker.events.refused("", self.peer, reason_code, detail)
            return
        self.session = None
        self.account.connections -= 1
        self.broker.session_left(session, self, reason_code, detail, without_will, now)

    def put_explained(self, packet: Connack | Disconnect, detail: str) -> None:
        """With a Reason String, unless that made it larger than the client takes [MQTT-3.2.2-19, 3.14.2-3]."""
        packet.properties.texts[p.REASON_STRING] = detail
        if self.is_too_large(packet.encode(V5)):
            del packet.properties.texts[p.REASON_STRING]
        self.put_packet(packet)

    def hold_for(self, session: Session) -> None:
        """What is put from here on tells of changes to a session: it leaves when they are safe."""
        store = self.broker.store
        if store is not None and session.kept and not store.failing:
            self.hold(store.barrier())

    def put_packet(self, packet: Packet) -> None:
        encoded = packet.encode(self.version)
        if self.is_too_large(encoded):
            return  # [MQTT-3.1.2-24]: it cannot be told
        self.put(encoded)
        self.traffic.count(SENT, encoded[0] >> 4, 1, len(encoded))
        self.broker.statistics.control_sent += 1

    def is_too_large(self, encoded: bytes) -> bool:
        return self.peer_maximum_packet_size > 0 and len(encoded) > self.peer_maximum_packet_size
