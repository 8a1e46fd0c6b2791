"""What is a command, and what is refused before a vehicle looks at it?"""

from __future__ import annotations

import pytest

from examples.vehicle.messages import (
    Doors,
    Heading,
    Lights,
    ParkingBrake,
    Refused,
    Request,
    Rotation,
    Speed,
    Stop,
    encode,
    read_request,
    topic,
    vehicle_of,
)


@pytest.mark.parametrize(
    "command", [Doors("lock"), Lights(True), ParkingBrake(False), Speed(-3), Heading(359.5), Rotation(-360), Stop()]
)
def test_every_command_comes_back_as_it_was_sent(command: Doors | Lights | Speed) -> None:
    request = Request("7f", command)
    assert read_request(encode(request)) == request


@pytest.mark.parametrize(
    ("payload", "id", "complaint"),
    [
        (b'{"id":"7f","command":{"do":"speed","metres_per_second":31}}', "7f", "<= 30"),
        (b'{"id":"7f","command":{"do":"speed","metres_per_second":"5"}}', "7f", "Expected `float`"),
        (b'{"id":"7f","command":{"do":"heading","degrees":360}}', "7f", "< 360"),
        (b'{"id":"7f","command":{"do":"doors","action":"burn"}}', "7f", "burn"),
        (b'{"id":"7f","command":{"do":"fly"}}', "7f", "fly"),
        (b'{"id":"7f","command":{"do":"stop","now":true}}', "7f", "unknown field `now`"),
        (b'{"id":"7f"}', "7f", "required field `command`"),
        (b'{"id":"","command":{"do":"stop"}}', "", "length >= 1"),
        (b'{"id":"' + b"x" * 65 + b'","command":{"do":"stop"}}', "", "length <= 64"),
        (b'{"id":7,"command":{"do":"stop"}}', "", "Expected `str`"),
        (b"[]", "", "Expected `object`"),
        (b"null", "", "Expected `object`"),
        (b"", "", "not JSON"),
        (b"stop", "", "not JSON"),
        (b'{"id":"\xff"}', "", "not JSON"),
        (b"[" * 100_000, "", "not"),
        (b'{"id":"7f","command":' + b"[" * 100_000, "", "not"),
    ],
)
def test_what_is_no_command_is_refused_with_a_reason(payload: bytes, id: str, complaint: str) -> None:
    with pytest.raises(Refused) as refused:
        read_request(payload)
    assert complaint in str(refused.value)
    assert refused.value.id == id
    assert "\n" not in str(refused.value)


def test_a_topic_names_its_vehicle() -> None:
    assert topic("raspberry-pi", "telemetry") == "vehicles/raspberry-pi/telemetry"
    assert vehicle_of(topic("raspberry-pi", "state")) == "raspberry-pi"
