"""Does it hold together over encrypted connections: commands once, rights, a broker that is killed, another broker?"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest

from examples.vehicle.answered import Answered
from examples.vehicle.board import Board
from examples.vehicle.commander import Commander
from examples.vehicle.fleet import CONTROL_ROOM, driver_of, free_port, prepare
from examples.vehicle.link import Link
from examples.vehicle.messages import (
    AnyCommand,
    Lights,
    ParkingBrake,
    Request,
    Response,
    Rotation,
    Speed,
    State,
    Telemetry,
    encode,
    topic,
)
from examples.vehicle.physics import Abilities
from examples.vehicle.simulation import SimulatedVehicle
from examples.vehicle.vehicle import Vehicle
from tests.client.helpers import run
from tests.examples.programs import Mosquitto
from tests.process import PATIENCE_S, BrokerProcess
from tidewire import Client, PublishError, SubscribeError, TidewireError
from tidewire.testing import BrokerThread

ROBIN = "robin"
WREN = "wren"


class RecordingVehicle(SimulatedVehicle):
    """Writes down every turn: what must not happen twice."""

    def __init__(self) -> None:
        super().__init__(Abilities())
        self.turns: list[float] = []
        self.stops = 0

    def turn(self, degrees: float) -> None:
        self.turns.append(degrees)
        super().turn(degrees)

    def stop(self) -> None:
        self.stops += 1
        super().stop()


class Place:
    """Certificates, rules and a port that stays the same when the broker is started again."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.port = free_port()
        self.file = asyncio.run(prepare(directory, self.port, [ROBIN, WREN]))
        self.certificates = directory / "certificates"

    def link(self, name: str) -> Link:
        return Link(f"mqtts://127.0.0.1:{self.port}", name, self.certificates)

    def start(self) -> BrokerProcess:
        return BrokerProcess("--config", self.file, "--data", self.directory / "data")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    return Place(tmp_path_factory.mktemp("vehicle"))


@pytest.fixture(scope="module")
def served(place: Place) -> Iterator[Place]:
    with place.start():
        yield place


@asynccontextmanager
async def driving(link: Link, dead_man_s: float = 60.0) -> AsyncIterator[RecordingVehicle]:
    """A board whose vehicle is free to move."""
    vehicle = RecordingVehicle()
    vehicle.set_parking_brake(False)
    board = asyncio.create_task(Board(link, Vehicle(vehicle, 12, Answered(), dead_man_s), vehicle, 20).run())
    try:
        yield vehicle
    finally:
        board.cancel()
        with suppress(asyncio.CancelledError):
            await board


@asynccontextmanager
async def commanding(link: Link, *vehicles: str) -> AsyncIterator[Commander]:
    """A driver, when all these vehicles are online."""
    async with link.client("", retry_first_connect=True) as client:
        for vehicle in vehicles:
            await heard(client, vehicle, lambda state: state.link == "online")
        yield Commander(client, PATIENCE_S)


async def heard(client: Client, vehicle: str, wanted: Callable[[State], bool]) -> State:
    """The first state of a vehicle that is as it should be."""
    async with client.subscribe(topic(vehicle, "state"), qos=1) as states:
        while True:
            state: State = (await states.get(PATIENCE_S)).json(State)
            if wanted(state):
                return state


def test_a_command_is_answered_with_done_or_a_reason(served: Place) -> None:
    async def main() -> None:
        async with driving(served.link(ROBIN)) as vehicle, commanding(served.link(driver_of(ROBIN)), ROBIN) as robin:
            assert (await robin.send(ROBIN, Lights(True))).response.result == "done"
            assert vehicle.body().lights
            refused = (await robin.send(ROBIN, Speed(13))).response
            assert (refused.result, refused.reason) == ("refused", "this vehicle drives 12 m/s at most, not 13")

    run(main())


def test_the_same_command_sent_again_is_done_once(served: Place) -> None:
    async def main() -> None:
        async with driving(served.link(ROBIN)) as vehicle, commanding(served.link(driver_of(ROBIN)), ROBIN) as robin:
            answers = [(await robin.send(ROBIN, Rotation(90), "quarter")).response for _ in range(3)]
            assert [answer.result for answer in answers] == ["done"] * 3
            assert vehicle.turns == [90]

    run(main())


def test_the_state_shows_what_was_done_and_that_the_board_has_gone(served: Place) -> None:
    async def main() -> None:
        async with served.link(CONTROL_ROOM).client("") as client:
            async with driving(served.link(ROBIN)):
                await heard(client, ROBIN, lambda state: state.body is not None and not state.body.lights)
                await Commander(client).send(ROBIN, Lights(True))
                await heard(client, ROBIN, lambda state: state.body is not None and state.body.lights)
            await heard(client, ROBIN, lambda state: state.link == "offline")

    run(main())


def test_a_driver_commands_its_own_vehicle_only(served: Place) -> None:
    async def main() -> None:
        async with (
            driving(served.link(ROBIN)) as vehicle,
            driving(served.link(WREN)),
            commanding(served.link(driver_of(WREN)), WREN) as wren,
            served.link(driver_of(WREN)).client("") as client,
        ):
            with pytest.raises(SubscribeError, match="not authorized"):  # it may not even hear the answer …
                await wren.send(ROBIN, Rotation(90))
            with pytest.raises(PublishError, match="not authorized"):  # … and who wants none is not heard either
                await client.publish(topic(ROBIN, "commands"), encode(Request("7f", Rotation(90))), qos=2)
            assert (await wren.send(WREN, Rotation(90))).response.result == "done"
            assert vehicle.turns == []

    run(main())


@pytest.mark.parametrize("of", ["telemetry", "responses", "state"])
def test_a_driver_cannot_speak_for_a_vehicle(served: Place, of: str) -> None:
    async def main() -> None:
        async with served.link(driver_of(ROBIN)).client("") as client:
            with pytest.raises(PublishError, match="not authorized"):
                await client.publish(f"vehicles/{ROBIN}/{of}", b"{}", qos=1)

    run(main())


def test_nobody_comes_in_without_a_certificate(served: Place) -> None:
    async def main() -> None:
        context = ssl.create_default_context(cafile=served.certificates / "ca.pem")
        with pytest.raises(TidewireError):
            await Client(served.link(ROBIN).url, tls=context, reconnect=None).connect()

    run(main())


def test_a_broker_that_is_killed_loses_no_command_and_doubles_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither the memory of ids nor asking again has any part in it: QoS 2 does it alone."""
    place = Place(tmp_path)
    came: list[bytes] = []
    obey = Vehicle.obey

    def note(vehicle: Vehicle, payload: bytes) -> Response:
        came.append(payload)
        return obey(vehicle, payload)

    monkeypatch.setattr(Vehicle, "obey", note)
    degrees = [float(number) for number in range(1, 121)]
    to_send = iter(degrees)
    answered = 0

    async def main() -> None:
        broker = await asyncio.to_thread(place.start)
        enough = asyncio.Event()

        async def send(commander: Commander) -> None:
            nonlocal answered
            for number in to_send:  # which all of them share
                answer = await commander.send(ROBIN, Rotation(number), f"turn {number}")
                assert answer.response.result == "done"
                answered += 1
                if answered in (30, 80):
                    broker.process.kill()  # in the middle: the others' commands are somewhere on their way
                    enough.set()

        try:
            async with (
                driving(place.link(ROBIN)) as vehicle,
                commanding(place.link(driver_of(ROBIN)), ROBIN) as robin,
                asyncio.TaskGroup() as senders,
            ):
                for _ in range(6):
                    senders.create_task(send(robin))
                for _ in range(2):
                    await enough.wait()
                    enough.clear()
                    await asyncio.to_thread(broker.kill)
                    broker = await asyncio.to_thread(place.start)
            assert sorted(vehicle.turns) == degrees
            assert len(came) == len(set(came)) == len(degrees)
        finally:
            await asyncio.to_thread(broker.kill)

    run(main())


def test_a_board_that_loses_its_link_stops_and_says_why() -> None:
    async def main(broker: BrokerThread) -> None:
        async with (
            driving(Link(broker.url, ROBIN), dead_man_s=0) as vehicle,
            Link(broker.url, "anybody").client("") as client,
        ):
            await heard(client, ROBIN, lambda state: state.link == "online")
            async with client.subscribe(topic(ROBIN, "telemetry")) as telemetry:
                await Commander(client).send(ROBIN, Speed(10))
                async for message in telemetry:
                    if message.json(Telemetry).motion.speed > 1:
                        break
            for _ in range(2):
                broker.faults.refuse_connect(0x88)  # server unavailable: the link stays away for a while
            broker.faults.cut(ROBIN)
            state = await heard(client, ROBIN, lambda state: bool(state.stopped_because))
            assert state.stopped_because == "the link was lost for 0 s"
            assert vehicle.stops

    with BrokerThread() as broker:
        run(main(broker))


def test_a_vehicle_never_answers_where_the_asker_says() -> None:
    async def main(broker: BrokerThread) -> None:
        async with driving(Link(broker.url, ROBIN)), Link(broker.url, "anybody").client("") as client:
            await heard(client, ROBIN, lambda state: state.link == "online")
            async with client.subscribe(topic(ROBIN, "responses"), "elsewhere") as answers:
                await client.publish(
                    topic(ROBIN, "commands"), b"nonsense", qos=2, response_topic="elsewhere", correlation_data=b"7"
                )
                answer = await answers.get(PATIENCE_S)
        assert (answer.topic, answer.correlation_data) == (topic(ROBIN, "responses"), b"7")
        assert "not JSON" in answer.text()

    with BrokerThread() as broker:
        run(main(broker))


def test_a_command_that_was_retained_does_not_move_a_board_that_comes_later() -> None:
    async def main(broker: BrokerThread) -> None:
        broker.publish(topic(ROBIN, "commands"), encode(Request("old", Rotation(90))), qos=2, retain=True)
        async with driving(Link(broker.url, ROBIN)) as vehicle, commanding(Link(broker.url, "me"), ROBIN) as me:
            await me.send(ROBIN, Rotation(45))
            assert vehicle.turns == [45]

    with BrokerThread() as broker:
        run(main(broker))


MOSQUITTO = """\
cafile {certificates}/ca.pem
certfile {certificates}/server.pem
keyfile {certificates}/server.key
require_certificate true
use_identity_as_username true
acl_file {directory}/acl
"""

ACL = """\
user robin
topic read vehicles/robin/commands
topic write vehicles/robin/#
user driver-of-robin
topic write vehicles/robin/commands
topic read vehicles/robin/#
"""


def test_any_other_broker_will_do(place: Place, tmp_path: Path) -> None:
    (tmp_path / "acl").write_text(ACL)
    configuration = MOSQUITTO.format(certificates=place.certificates, directory=tmp_path)

    async def main(port: int) -> None:
        def link(name: str) -> Link:
            return Link(f"mqtts://127.0.0.1:{port}", name, place.certificates)

        async with driving(link(ROBIN)) as vehicle, commanding(link(driver_of(ROBIN)), ROBIN) as robin:
            commands: list[AnyCommand] = [Rotation(90), ParkingBrake(True), Speed(5)]
            answers = [(await robin.send(ROBIN, command)).response for command in commands]
            assert [answer.result for answer in answers] == ["done", "done", "refused"]
            assert vehicle.turns == [90]

    with Mosquitto(tmp_path, configuration) as mosquitto:
        run(main(mosquitto.port))
