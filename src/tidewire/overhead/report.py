"""What was found, all together? Run the measurements that were asked for; `Report` is what they came to."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

import msgspec
from msgspec import Struct

from tidewire.overhead import mqtt, protocols
from tidewire.overhead.broker import measured_broker
from tidewire.overhead.costs import Exchange, Form
from tidewire.overhead.kernel import ETHERNET_MSS
from tidewire.overhead.mqtt import Message
from tidewire.overhead.protocols import Missing, ProtocolCost
from tidewire.overhead.schedule import Month, Schedule, month, ping_bytes

NOTES: Final = (
    "counted where they pass, and equal to what the kernel counted on the socket: payload, MQTT, WebSocket, TLS",
    "told by the kernel (TCP_INFO): segments both ways, with SYN, FIN, pure acknowledgements and what was sent again",
    "reckoned: TCP/IP bytes, segments × 52 (IPv4 20, TCP 20, timestamps 12; a SYN 60) as the kernel says which options "
    "were agreed on; for CoAP, UDP/IP, datagrams × 28",
    f"as on Ethernet: segments of {ETHERNET_MSS} bytes at most; what lies below IP is not in it",
    "Nagle's algorithm is off; delayed acknowledgements are waited for, and whether one travels alone or with data is "
    "the kernels' choice: a stage may differ by a segment from one run to the next",
    "a message is the second of its kind: the first names the alias, and lets both kernels learn that answers follow",
    "TLS: a certificate on P-256 with a chain of one, no resumption",
    "other protocols: without TLS, as their libraries do it by default, counted in a relay; AMQP's heartbeats are not "
    "in the month",
)


class Report(Struct, frozen=True):
    """`--json` prints these fields. The bytes of all layers are the sum of a direction's first five."""

    message: Message
    schedule: Schedule
    exchanges: list[Exchange]
    others: list[ProtocolCost]
    """The same message by other protocols, over TCP or UDP without TLS."""
    missing: list[Missing]
    months: list[Month]
    wake_ups: int
    """In a month, of an MQTT client that stays connected."""
    notes: tuple[str, ...]
    """What the kernel told, and what was reckoned from it."""

    @property
    def typical(self) -> Exchange:
        """The one to show where there is room for one: MQTT 5.0 without aliases, if it was measured."""
        plain = [each for each in self.exchanges if each.form.version == "5.0" and not each.form.alias]
        return (plain or self.exchanges)[0]

    def as_json(self) -> str:
        return msgspec.json.encode(self).decode()


def measure(
    forms: Sequence[Form],
    qualities: Sequence[int],
    message: Message,
    schedule: Schedule,
    others: bool,
    say: Callable[[str], None],
) -> Report:
    """Perform what was asked for, one after the other. `say` is told what is being done. Raises MeasurementError."""
    exchanges = []
    with measured_broker() as broker:
        for form in forms:
            say(str(form))
            exchanges.append(mqtt.measure(broker, form, message, qualities))
    costs, missing = protocols.measure(message, say) if others else ([], [])
    months = [
        month(cost, schedule, ping_bytes(exchange)) for exchange in exchanges for cost in protocols.of_mqtt(exchange)
    ]
    months += [month(cost, schedule) for cost in costs]
    return Report(message, schedule, exchanges, costs, missing, months, schedule.wake_ups, NOTES)
