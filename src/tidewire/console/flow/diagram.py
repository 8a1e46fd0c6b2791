"""Which packets of a client belong together, and what does each row of the diagram say?

Without a browser and without a clock: packets in, rows out. `flow_rows.js` and `drawing.py` draw the same rows.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from statistics import median
from typing import Any, Final, Literal

from msgspec import Struct

from tidewire.console.words import clock, duration, number, size
from tidewire.server.admin_types import PacketSeen

LANES: Final = 6
"""Exchanges whose brackets stand side by side: more would leave no room for the arrows on a phone."""

COLOURS: Final = 8
"""That packet identifiers take in turn: more cannot be told apart."""

OPEN_EXCHANGES: Final = 1_000
"""That wait for their last packet: the oldest is given up for one more, for a peer may never finish any."""

TIMED_HANDSHAKES: Final = 100
"""Whose durations the median is of: what has just happened, and no more."""

SAID_CHARACTERS: Final = 160
"""Of what a peer has sent, in one row; all of it stands beside the diagram once the packet is chosen."""

NAMED: Final = 3
"""Topic filters or reasons that a row names."""

Part = Literal["begin", "pass", "join", "end"]


class Bracket(Struct, frozen=True):
    """What one lane shows beside one row."""

    lane: int
    colour: int
    """From 0; -1 for an exchange without a packet identifier."""
    part: Part


class Row(Struct, frozen=True, kw_only=True):
    """One row, in the order in which the packets passed."""

    number: int
    """Of the packet in its feed; 0 for a gap, which is no packet."""
    kind: Literal["packet", "closed", "gap", "malformed"]
    name: str
    """Of the packet; of the others, what has happened, in words."""
    to_broker: bool = False
    marks: list[str] = []
    """QoS, DUP and RETAIN."""
    identifier: int = 0
    colour: int = -1
    said: str = ""
    """Topic, filters, reason: what tells it from others of its type."""
    refused: bool = False
    """A reason code says no."""
    size: str = ""
    clock: str = ""
    """Time of day."""
    since: str = ""
    """The packet before."""
    took: str = ""
    """From the first packet of the exchange to this, its last."""
    brackets: list[Bracket] = []


GROUPS: Final[dict[str, tuple[str, ...]]] = {
    "Connection": ("CONNECT", "CONNACK", "DISCONNECT", "AUTH"),
    "Messages": ("PUBLISH",),
    "Acknowledgements": ("PUBACK", "PUBREC", "PUBREL", "PUBCOMP"),
    "Subscriptions": ("SUBSCRIBE", "SUBACK", "UNSUBSCRIBE", "UNSUBACK"),
    "Keep alive": ("PINGREQ", "PINGRESP"),
}
"""The packet types as people look for them. Ends of connections and gaps are shown whatever is looked for."""


@dataclass(slots=True)
class _Exchange:
    """Packets that answer each other, until the last of them has passed."""

    began: float
    connection: int
    lane: int
    """-1: all lanes were taken."""
    colour: int
    outlives: bool
    """It goes on over the client's next connection if the session does (4.4)."""


_Key = tuple[str, int]
"""Which side began ("in" or "out") and the packet identifier; or what it is and the connection."""

_ANSWERS: Final = {"CONNACK": "CONNECT", "PINGRESP": "PINGREQ"}
_LAST: Final = frozenset({"PUBACK", "PUBCOMP", "SUBACK", "UNSUBACK", "CONNACK", "PINGRESP"})
_FIRST: Final = frozenset({"PUBLISH", "SUBSCRIBE", "UNSUBSCRIBE", "CONNECT", "PINGREQ"})


class Sequence:
    """Makes rows of one client's packets, and remembers what is unanswered."""

    def __init__(self) -> None:
        self.packets = 0
        """That have passed, …"""
        self.left_out = 0
        """… and those of them that nobody looked at, for there were too many."""
        self._handshakes: deque[float] = deque(maxlen=TIMED_HANDSHAKES)
        self._open: dict[_Key, _Exchange] = {}
        self._lanes: list[_Exchange | None] = [None] * LANES
        self._before: PacketSeen | None = None

    def rows(self, packets: Iterable[PacketSeen]) -> list[Row]:
        """Those of the packets that came next, and of what lies between them."""
        rows: list[Row] = []
        for packet in packets:
            missed = packet.number - self.packets - 1
            if missed > 0:
                self._give_up(lambda _: True)  # their ends may be among what was missed
                self.left_out += missed
                rows.append(Row(number=0, kind="gap", name=f"{number(missed)} packets left out"))
            self.packets = packet.number
            rows.append(self._row(packet))
            self._before = packet
        return rows

    def handshake_s(self) -> float | None:
        """How long the last QoS 1 and 2 handshakes took, their median in seconds; None before the first."""
        return median(self._handshakes) if self._handshakes else None

    # -- inside

    def _row(self, packet: PacketSeen) -> Row:
        before = self._before
        since = f"+{elapsed(max(0.0, packet.at - before.at))}" if before is not None else ""
        if packet.packet in ("closed", "malformed"):
            return self._other(packet, since)
        exchange, took, brackets = self._join(packet)
        said = _SAID.get(packet.packet, _reason)(packet)
        return Row(
            number=packet.number,
            kind="packet",
            name=packet.packet,
            to_broker=packet.direction == "in",
            marks=_marks(packet),
            identifier=packet.packet_identifier,
            colour=exchange.colour if exchange is not None else -1,
            said=_short(said),
            refused=_refused(packet),
            size=size(packet.size_bytes),
            clock=clock(packet.at),
            since=since,
            took=elapsed(took) if took is not None else "",
            brackets=brackets,
        )

    def _other(self, packet: PacketSeen, since: str) -> Row:
        """The end of a connection, or what is no packet at all."""
        closed = packet.packet == "closed"
        if closed:
            self._give_up(lambda exchange: exchange.connection == packet.connection and not exchange.outlives)
        return Row(
            number=packet.number,
            kind="closed" if closed else "malformed",
            name="The connection has ended" if closed else "What came is no packet of MQTT",
            to_broker=packet.direction == "in",
            said=_short(packet.reason),
            refused=not closed,
            size="" if closed else size(packet.size_bytes),
            clock=clock(packet.at),
            since=since,
            brackets=self._passing(None),
        )

    def _join(self, packet: PacketSeen) -> tuple[_Exchange | None, float | None, list[Bracket]]:
        """The exchange it belongs to, how long that took if this ends it, and all brackets beside it."""
        if packet.packet == "CONNACK" and not packet.fields.get("session_present"):
            self._give_up(lambda exchange: exchange.outlives)  # a new session knows of no handshake (4.1)
        key = _key(packet)
        if key is None:
            return None, None, self._passing(None)
        known = self._open.get(key)
        part: Part = "join"
        if packet.packet in _FIRST and (known is None or not packet.dup):
            known, part = self._begin(key, packet), "begin"
        if known is None:  # it began before anybody looked
            return None, None, self._passing(None)
        took: float | None = None
        if packet.packet in _LAST or (packet.packet == "PUBREC" and packet.reason_code >= 0x80):
            part, took = "end", max(0.0, packet.at - known.began)
            if known.outlives:
                self._handshakes.append(took)
        brackets = self._passing(known)
        if known.lane >= 0:
            brackets.append(Bracket(known.lane, known.colour, part))
        if took is not None:
            self._end(key)
        return known, took, brackets

    def _begin(self, key: _Key, packet: PacketSeen) -> _Exchange:
        if key in self._open:
            self._end(key)
        if len(self._open) >= OPEN_EXCHANGES:
            self._end(next(iter(self._open)))
        exchange = _Exchange(
            packet.at,
            packet.connection,
            lane=self._lanes.index(None) if None in self._lanes else -1,
            colour=(packet.packet_identifier - 1) % COLOURS if packet.packet_identifier else -1,
            outlives=packet.packet == "PUBLISH",
        )
        self._open[key] = exchange
        if exchange.lane >= 0:
            self._lanes[exchange.lane] = exchange
        return exchange

    def _end(self, key: _Key) -> None:
        lane = self._open.pop(key).lane
        if lane >= 0:
            self._lanes[lane] = None

    def _give_up(self, hopeless: Callable[[_Exchange], bool]) -> None:
        for key in [key for key, exchange in self._open.items() if hopeless(exchange)]:
            self._end(key)

    def _passing(self, own: _Exchange | None) -> list[Bracket]:
        """Of the exchanges that wait while this packet passes."""
        return [
            Bracket(exchange.lane, exchange.colour, "pass")
            for exchange in self._lanes
            if exchange is not None and exchange is not own
        ]


def elapsed(seconds: float) -> str:
    """A short time: `0.04 ms`, `12 ms`, `1.24 s`, `2 min 3 s`."""
    if seconds >= 59.995:
        return duration(seconds)
    if seconds >= 0.9995:
        return f"{seconds:.2f} s"
    milliseconds = 1000 * seconds
    decimals = 0 if milliseconds >= 9.95 else 1 if milliseconds >= 0.995 else 2
    return f"{milliseconds:.{decimals}f} ms"


def reason(packet: PacketSeen) -> str:
    """Its reason code in words and in hexadecimal; empty where it has none to tell."""
    if not packet.reason_code:
        return packet.reason
    return f"{packet.reason} (0x{packet.reason_code:02x})"


def _key(packet: PacketSeen) -> _Key | None:
    """What it shares with the other packets of its exchange; None where it stands alone."""
    name = packet.packet
    if name in ("CONNECT", "CONNACK", "PINGREQ", "PINGRESP"):
        return _ANSWERS.get(name, name), packet.connection
    if not packet.packet_identifier:
        return None
    other = "out" if packet.direction == "in" else "in"
    began = packet.direction if name in _FIRST or name == "PUBREL" else other
    return began, packet.packet_identifier


def _marks(packet: PacketSeen) -> list[str]:
    marks = [f"QoS {packet.qos}"] if packet.packet == "PUBLISH" else []
    return marks + ["DUP"] * packet.dup + ["RETAIN"] * packet.retain


def _refused(packet: PacketSeen) -> bool:
    """Before 5.0 a return code of CONNACK that is not zero says no, and 0x80 in SUBACK."""
    codes = [code["reason_code"] for code in packet.fields.get("reason_codes", ())]
    return any(code >= 0x80 for code in [packet.reason_code, *codes]) or (
        packet.packet == "CONNACK" and packet.reason_code != 0
    )


def _short(text: str) -> str:
    return text if len(text) <= SAID_CHARACTERS else f"{text[: SAID_CHARACTERS - 1]}…"


def _reason(packet: PacketSeen) -> str:
    return reason(packet) if packet.reason_code or packet.reason != "success" else ""


def _connect(packet: PacketSeen) -> str:
    fields = packet.fields
    if not fields:
        return packet.reason
    parts = [f"MQTT {fields['version']}", f"keep alive {fields['keep_alive']} s"]
    parts += ["clean start"] * bool(fields["clean_start"])
    parts += [f"user {fields['user_name']}"] * (fields["user_name"] is not None)
    parts += ["will"] * ("will" in fields)
    return " · ".join(parts)


def _connack(packet: PacketSeen) -> str:
    present = "session present" if packet.fields.get("session_present") else "new session"
    return reason(packet) if packet.reason_code else f"{packet.reason} · {present}"


def _listed(each: list[Any], words: Callable[[Any], str]) -> str:
    """The first of them, and how many more there are."""
    more = [f"and {number(len(each) - NAMED)} more"] if len(each) > NAMED else []
    return ", ".join([words(one) for one in each[:NAMED]] + more)


def _subscribe(packet: PacketSeen) -> str:
    requests = packet.fields.get("requests", [])
    return _listed(requests, lambda request: f"{request['topic_filter']} (QoS {request['qos']})")


def _suback(packet: PacketSeen) -> str:
    """In SUBACK, 0 to 2 are the QoS that is granted (3.9.3)."""

    def words(code: dict[str, Any]) -> str:
        return f"QoS {code['reason_code']} granted" if code["reason_code"] <= 2 else str(code["reason"])

    return _listed(packet.fields.get("reason_codes", []), words)


def _unsuback(packet: PacketSeen) -> str:
    codes = packet.fields.get("reason_codes", [])
    return _listed([code for code in codes if code["reason_code"]], lambda code: str(code["reason"]))


_SAID: Final[dict[str, Callable[[PacketSeen], str]]] = {
    "CONNECT": _connect,
    "CONNACK": _connack,
    "PUBLISH": lambda packet: packet.topic or packet.reason,
    "SUBSCRIBE": _subscribe,
    "SUBACK": _suback,
    "UNSUBSCRIBE": lambda packet: _listed(packet.fields.get("topic_filters", []), str),
    "UNSUBACK": _unsuback,
}
"""What a row says of each type; of the others, their reason where it is not success."""
