"""What does the traffic of each client cost, and that of each branch of the topics? Bytes and packets, layer by layer.

Links and branches count as they go, with an addition or two at a read, a write, a run or a packet. From time to time,
and when a connection ends, `Meter.collect` moves that into the accounts of the day and the month that are running.
What lies below MQTT is added by the server, which knows the sockets. `turn` begins the next day.

An account's figures are one list: what was received, then what was sent, each `SPAN` long and in the order of the names
below. Layers are what each adds, so that they add up: PAYLOAD is part of MQTT, and the total is
MQTT + WEBSOCKET + TLS + TCP_IP.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from mypy_extensions import i64, mypyc_attr

from tidewire.wire.codes import PINGREQ, PINGRESP, PUBACK, PUBCOMP, PUBLISH, PUBREC, PUBREL

if TYPE_CHECKING:
    from tidewire.engine.reading import Reading

PAYLOAD: Final = 0
"""Bytes of the payloads of PUBLISH …"""
MQTT: Final = 1
"""… and of all packets, payloads included."""
WEBSOCKET: Final = 2
"""What frames and the upgrade add to that."""
TLS: Final = 3
"""What records and handshakes add."""
TCP_IP: Final = 4
"""What headers, and what was sent again, add."""
ESTIMATED: Final = 5
"""How much of WEBSOCKET, TLS and TCP_IP was not counted, but worked out."""
SEGMENTS: Final = 6
"""Of TCP, those without data included."""
TRANSFERS: Final = 7
"""Reads, or writes: how often there was something."""
PACKETS: Final = 8
"""Packets of MQTT by type: type 0 stands at this place, type 15 at the last before …"""
PACKET_BYTES: Final = PACKETS + 16
"""… their bytes, likewise."""
SPAN: Final = PACKET_BYTES + 16

RECEIVED: Final = 0
SENT: Final = SPAN

LAYERS: Final = (("payload", PAYLOAD), ("mqtt", MQTT), ("websocket", WEBSOCKET), ("tls", TLS), ("tcp_ip", TCP_IP))

TOTAL_KIND: Final = "total"
CLIENT_KIND: Final = "client"
BRANCH_KIND: Final = "branch"
NOBODY_KIND: Final = "nobody"
"""Connections that never became a client's."""
OTHER_CLIENTS_KIND: Final = "other clients"
"""Those that came when there were as many accounts as there may be."""
OTHER_BRANCHES_KIND: Final = "other branches"
KINDS: Final = (TOTAL_KIND, CLIENT_KIND, BRANCH_KIND, NOBODY_KIND, OTHER_CLIENTS_KIND, OTHER_BRANCHES_KIND)

UNRESTRAINED: Final = 0
THROTTLED: Final = 1
REFUSED: Final = 2

_ACKNOWLEDGEMENT_BYTES: Final = 4
_PING_BYTES: Final = 2


class Traffic:
    """What one connection has moved since it was collected, but for what `Link` and `Reading` count themselves.

    They have what messages at QoS 0 and 1 move. All else is here, so that connections stay small: a message to a
    thousand subscribers finds few of theirs in the processor's cache."""

    def __init__(self) -> None:
        self.pubrels_sent: i64 = 0
        self.pubcomps_sent: i64 = 0
        self.pubrecs_sent: i64 = 0
        self.pubrecs_received: i64 = 0
        self.pubrels_received: i64 = 0
        self.pubcomps_received: i64 = 0
        self.pings: i64 = 0
        """PINGREQ that were answered."""
        self.rare: dict[int, int] | None = None
        """Place in the figures → amount, of what has no counter."""
        self.below: Below | None = None
        """What the server knows of the layers below, where there are any."""
        self.collected_received: i64 = 0
        self.collected_sent: i64 = 0
        self.collected_reads: i64 = 0
        self.collected_writes: i64 = 0
        """How much of bytes, reads and writes was collected before: they alone are counted from the beginning."""
        self.collected_put: i64 = 0
        """The same of what was put on the outbox, handed to the transport by now or not."""

    def count(self, direction: int, packet_type: int, packets: int, size: int) -> None:
        """Packets of a rare type, so many bytes together."""
        self.count_rarely(direction + PACKETS + packet_type, packets)
        self.count_rarely(direction + PACKET_BYTES + packet_type, size)

    def count_rarely(self, place: int, amount: int) -> None:
        rare = self.rare
        if rare is None:
            rare = self.rare = {}
        rare[place] = rare.get(place, 0) + amount


class Account:
    """The figures of one client, of one branch of the topics, or of all together."""

    def __init__(self, kind: str, name: str, user_name: str | None = None) -> None:
        self.kind = kind
        self.name = name
        self.user_name = user_name
        """Of a client, whose user it was last."""
        self.day = [0] * (2 * SPAN)
        self.month = self.day
        """The same list, for as long as nothing was counted on another day: most accounts are of clients that come and
        go, or do little."""
        self.changed = False
        """Since it was saved."""
        self.connections = 0
        """Of a client, that are there: while there is one the account is not let go."""

    def add(self, place: int, amount: int) -> None:
        """Add to the running day and month."""
        self.day[place] += amount
        if self.month is not self.day:
            self.month[place] += amount
        self.changed = True

    def put(self, place: i64, amount: i64) -> None:
        """The same, of what is mostly nothing."""
        if amount:
            self.add(int(place), int(amount))

    def put_packets(self, place: i64, packets: i64, size: i64) -> None:
        """So many packets of a type, each of that size; `place` is the direction and the type."""
        if packets:
            self.add(int(place + PACKETS), int(packets))
            self.add(int(place + PACKET_BYTES), int(packets * size))

    def turn(self, next_month: bool) -> None:
        """A day has ended, and perhaps the month with it. Who holds the figures of before finds them unchanged."""
        if self.month is self.day:
            self.month = self.day.copy()
        self.day = [0] * (2 * SPAN)
        if next_month:
            self.month = self.day

    def total(self, place: int) -> int:
        """Of a layer or counter, both directions of the month together."""
        return self.month[place] + self.month[SENT + place]


class Branch(Account):
    """A branch of the topics: those that begin with the same levels. Routes and messages hold it, and count there."""

    def __init__(self, kind: str = OTHER_BRANCHES_KIND, name: str = "") -> None:
        super().__init__(kind, name)
        self.publish_received: i64 = 0
        self.payload_received: i64 = 0
        self.bytes_received: i64 = 0
        self.publish_sent: i64 = 0
        self.payload_sent: i64 = 0
        self.bytes_sent: i64 = 0

    def collect(self) -> None:
        """Take over what was counted."""
        if not (self.publish_received or self.publish_sent):
            return
        for direction, packets, payload, size in (
            (RECEIVED, int(self.publish_received), int(self.payload_received), int(self.bytes_received)),
            (SENT, int(self.publish_sent), int(self.payload_sent), int(self.bytes_sent)),
        ):
            self.add(direction + PAYLOAD, payload)
            self.add(direction + MQTT, size)
            self.add(direction + PACKETS + PUBLISH, packets)
            self.add(direction + PACKET_BYTES + PUBLISH, size)
        self.publish_received = self.payload_received = self.bytes_received = 0
        self.publish_sent = self.payload_sent = self.bytes_sent = 0


@mypyc_attr(allow_interpreted_subclasses=True)
class Below:
    """The layers below one connection."""

    def look(self) -> None:
        """We have just closed the connection: this may be the last time that its socket can be asked."""


@mypyc_attr(allow_interpreted_subclasses=True)
class Budgets:
    """What the outside has to say of accounts that have used up what they may. This base restrains nobody."""

    def restraint(self, account: Account) -> int:
        """UNRESTRAINED, THROTTLED or REFUSED, for a client that connects."""
        return UNRESTRAINED

    def allowance(self, account: Account) -> tuple[int, int]:
        """Messages and bytes a second for one that is throttled; 0: not limited."""
        return 0, 0


class Meter:
    """All accounts of one broker."""

    def __init__(self, clients: int, branches: int, levels: int) -> None:
        """At most so many accounts of clients and of branches, a branch being that many levels of a topic."""
        self.budgets = Budgets()
        self.clients: dict[str, Account] = {}
        self.branches: dict[bytes, Branch] = {}
        self.total = Account(TOTAL_KIND, "")
        self.nobody = Account(NOBODY_KIND, "")
        self.other_clients = Account(OTHER_CLIENTS_KIND, "")
        self.other_branches = Branch()
        self._most_clients = clients
        self._most_branches = branches
        self._levels = levels

    def account(self, client_identifier: str, user_name: str | None) -> Account:
        """The account of a client."""
        account = self.clients.get(client_identifier)
        if account is None:
            if len(self.clients) >= self._most_clients:
                return self.other_clients
            account = self.clients[client_identifier] = Account(CLIENT_KIND, client_identifier)
        account.user_name = user_name
        return account

    def branch(self, topic: bytes) -> Branch:
        """The branch of a topic."""
        levels = topic.split(b"/", self._levels)
        return self._branch(b"/".join(levels[: self._levels]))

    def restore(self, kind: str, name: str, user_name: str | None, figures: list[int], is_day: bool) -> None:
        """Take up what was counted before; for accounts that there is no room for, with the others."""
        account: Account = self.total
        if kind == CLIENT_KIND:
            account = self.account(name, user_name)
        elif kind == BRANCH_KIND:
            account = self._branch(name.encode())
        elif kind != TOTAL_KIND:
            account = {
                NOBODY_KIND: self.nobody,
                OTHER_CLIENTS_KIND: self.other_clients,
                OTHER_BRANCHES_KIND: self.other_branches,
            }[kind]
        if account.month is account.day:
            account.month = account.day.copy()
        into = account.day if is_day else account.month
        for place, amount in enumerate(figures):
            into[place] += amount

    def is_idle(self, connection: Reading) -> bool:
        """Whether it has read and written nothing since it was collected."""
        traffic = connection.traffic
        return connection.reads == traffic.collected_reads and connection.writes == traffic.collected_writes

    def collect(self, connection: Reading, account: Account) -> None:
        """Move what a connection has counted into its client's account."""
        if self.is_idle(connection):
            return
        _add_traffic(account, connection)
        _add_traffic(self.total, connection)
        connection.publish_received = connection.publish_bytes_received = connection.payload_received = 0
        connection.publish_sent = connection.payload_sent = 0
        connection.pubacks_received = connection.pubacks_sent = 0
        traffic = connection.traffic
        traffic.pubrecs_received = traffic.pubrels_received = traffic.pubcomps_received = 0
        traffic.pubrecs_sent = traffic.pubrels_sent = traffic.pubcomps_sent = 0
        traffic.pings = 0
        traffic.rare = None
        traffic.collected_received = connection.bytes_received
        traffic.collected_sent = connection.bytes_sent
        traffic.collected_put = connection.bytes_sent + connection.outbox_bytes
        traffic.collected_reads = connection.reads
        traffic.collected_writes = connection.writes

    def add(self, account: Account, place: int, amount: int) -> None:
        """What the server knows of a layer below MQTT."""
        if amount:
            account.add(place, amount)
            self.total.add(place, amount)

    def collect_branches(self) -> None:
        self.other_branches.collect()
        for branch in self.branches.values():
            branch.collect()

    def accounts(self) -> list[Account]:
        """All of them, the total first."""
        found: list[Account] = [self.total, self.nobody, self.other_clients, self.other_branches]
        found.extend(self.clients.values())
        found.extend(self.branches.values())
        return found

    def turn(self, next_month: bool) -> None:
        """A day has ended, and perhaps the month with it: what was collected by now was theirs.

        With the month, accounts that moved nothing in it make room for others."""
        if next_month:
            self.clients = {
                name: account for name, account in self.clients.items() if account.connections or account.total(MQTT)
            }
        for account in self.accounts():
            account.turn(next_month)

    def _branch(self, name: bytes) -> Branch:
        branch = self.branches.get(name)
        if branch is None:
            if len(self.branches) >= self._most_branches:
                return self.other_branches
            branch = self.branches[name] = Branch(BRANCH_KIND, name.decode())
        return branch

    def topics(self) -> dict[str, str]:
        """What `$SYS/broker/…` says of all clients together."""
        values: dict[str, str] = {}
        for period, figures in (("day", self.total.day), ("month", self.total.month)):
            for way, direction in (("received", RECEIVED), ("sent", SENT)):
                for name, place in LAYERS:
                    values[f"meter/{period}/{way}/{name}"] = str(figures[direction + place])
                values[f"meter/{period}/{way}/total"] = str(total_bytes(figures, direction))
        return values


def total_bytes(figures: list[int], direction: int) -> int:
    """All bytes of a direction, down to those of IP."""
    return sum(figures[direction + MQTT : direction + TCP_IP + 1])


def _add_traffic(account: Account, connection: Reading) -> None:
    """Place by place: a client that comes and goes costs no more than it has moved."""
    traffic = connection.traffic
    account.put(RECEIVED + TRANSFERS, connection.reads - traffic.collected_reads)
    account.put(RECEIVED + MQTT, connection.bytes_received - traffic.collected_received)
    account.put(RECEIVED + PAYLOAD, connection.payload_received)
    account.put(RECEIVED + PACKETS + PUBLISH, connection.publish_received)
    account.put(RECEIVED + PACKET_BYTES + PUBLISH, connection.publish_bytes_received)
    account.put(SENT + TRANSFERS, connection.writes - traffic.collected_writes)
    account.put(SENT + MQTT, connection.bytes_sent - traffic.collected_sent)
    account.put(SENT + PAYLOAD, connection.payload_sent)
    account.put(SENT + PACKETS + PUBLISH, connection.publish_sent)
    account.put_packets(RECEIVED + PUBACK, connection.pubacks_received, _ACKNOWLEDGEMENT_BYTES)
    account.put_packets(RECEIVED + PUBREC, traffic.pubrecs_received, _ACKNOWLEDGEMENT_BYTES)
    account.put_packets(RECEIVED + PUBREL, traffic.pubrels_received, _ACKNOWLEDGEMENT_BYTES)
    account.put_packets(RECEIVED + PUBCOMP, traffic.pubcomps_received, _ACKNOWLEDGEMENT_BYTES)
    account.put_packets(RECEIVED + PINGREQ, traffic.pings, _PING_BYTES)
    account.put_packets(SENT + PUBACK, connection.pubacks_sent, _ACKNOWLEDGEMENT_BYTES)
    account.put_packets(SENT + PUBREC, traffic.pubrecs_sent, _ACKNOWLEDGEMENT_BYTES)
    account.put_packets(SENT + PUBREL, traffic.pubrels_sent, _ACKNOWLEDGEMENT_BYTES)
    account.put_packets(SENT + PUBCOMP, traffic.pubcomps_sent, _ACKNOWLEDGEMENT_BYTES)
    account.put_packets(SENT + PINGRESP, traffic.pings, _PING_BYTES)
    acknowledgements: i64 = (
        connection.pubacks_sent + traffic.pubrecs_sent + traffic.pubrels_sent + traffic.pubcomps_sent
    )
    put: i64 = connection.bytes_sent + connection.outbox_bytes - traffic.collected_put
    publish_bytes: i64 = put - acknowledgements * _ACKNOWLEDGEMENT_BYTES - traffic.pings * _PING_BYTES
    rare = traffic.rare
    if rare is not None:
        for place, amount in rare.items():
            account.add(place, amount)
            if place >= SENT + PACKET_BYTES:
                publish_bytes -= amount
    account.put(SENT + PACKET_BYTES + PUBLISH, publish_bytes)
