"""Do the parts of the surf heat keep what docs/surf.md promises, on our broker, on a bad link and on Mosquitto?"""

from __future__ import annotations

import asyncio
import gc
import json
import time
from collections.abc import Awaitable, Coroutine, Iterator
from pathlib import Path
from typing import Any, Final

import msgspec
import pytest
from click.testing import CliRunner

from examples.surf.__main__ import surf
from examples.surf.board import run_boards
from examples.surf.heat import Heat, HeatError, LinkName
from examples.surf.history import History
from examples.surf.link import WEATHER
from examples.surf.messages import (
    END,
    LEADER_BOARD,
    PROBE,
    PUBLIC,
    RIDES,
    LeaderBoard,
    link_topic,
    reading_topic,
    ride_topic,
)
from examples.surf.model import Surfer
from examples.surf.replay import replay
from examples.surf.scoring import serve
from examples.surf.spectators import measure
from examples.surf.stage import new_heat, write_broker_files
from examples.surf.weather import run as weather_run
from examples.surf.weather import show as weather_table
from tests.examples.programs import Mosquitto
from tests.process import BrokerProcess
from tidewire import Client, PublishError, ReasonCode, SubscribeError
from tidewire.testing import BrokerThread

ROOT: Final = Path(__file__).parents[2]
PATIENCE_S: Final = 30.0
SURFERS: Final = ["kai", "mick"]
LENGTH_S: Final = 80.0
PACE: Final = 80.0


def make_heat(url: str, link: LinkName = "good") -> Heat:
    return Heat("heat", url, "", SURFERS, 7, link, time.time(), LENGTH_S, PACE, {})


def ridden(heat: Heat) -> list[str]:
    """The identifiers of all rides that end within the heat, by the model."""
    surfers = [Surfer(name, heat.seed) for name in heat.surfers]
    return sorted(f"{heat.id}/{each.name}/{wave.number}" for each in surfers for wave in each.waves(heat.length_s))


async def hold(
    heat: Heat, directory: Path, riding: Coroutine[Any, Any, None], before_judging: Awaitable[object] | None = None
) -> None:
    """Let two judges score until they have all rides, and find each of them counted once."""
    with History(directory / "rides.db") as history:
        async with asyncio.timeout(PATIENCE_S), asyncio.TaskGroup() as group:
            surfing = group.create_task(riding)
            if before_judging is not None:
                await before_judging
            judges = [group.create_task(serve(heat, history, f"judge-{n}")) for n in (1, 2)]
            async with (
                heat.client("operator", session_expiry=0) as operator,
                operator.subscribe(LEADER_BOARD) as boards,
            ):
                async for message in boards:
                    board = msgspec.json.decode(message.payload, type=LeaderBoard)
                    if board.rides >= len(ridden(heat)):
                        break
            await surfing
            for judge in judges:
                judge.cancel()
        assert sorted(each.ride.id for each in history.rides()) == ridden(heat)
        assert sum(standing.waves for standing in board.standings) == len(ridden(heat))


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Heat, BrokerThread]]:
    """A broker with the files that `python -m examples.surf` writes, bridged to one that stands for the cloud."""
    directory = tmp_path_factory.mktemp("heat")
    heat = new_heat(directory, 2, 7, 1.0, 20.0, "good", "", "")
    with BrokerThread() as cloud:
        write_broker_files(heat, directory, cloud=cloud.url)
        with BrokerProcess("--config", directory / "broker.toml"):
            yield heat, cloud


def test_lost_answers_neither_lose_a_ride_nor_count_one_twice(tmp_path: Path) -> None:
    with BrokerThread() as broker:
        heat = make_heat(broker.url)
        faults = [
            broker.faults.cut_at("PUBACK", nth=2, sender="broker", client="heat-kai"),
            broker.faults.cut_at("PUBACK", nth=1, sender="client", client="heat-judge-1"),
            broker.faults.cut_at("PUBACK", nth=2, sender="broker", client="heat-judge-2"),
        ]
        asyncio.run(hold(heat, tmp_path, run_boards(heat, tmp_path)))
        assert all(fault.done for fault in faults), faults


def test_rides_that_are_handed_in_before_the_first_judge_is_there_count(tmp_path: Path) -> None:
    with BrokerThread() as broker:
        heat = make_heat(broker.url)
        handed_in = asyncio.to_thread(broker.wait_for, RIDES, 2)
        asyncio.run(hold(heat, tmp_path, run_boards(heat, tmp_path), handed_in))


def test_a_flaky_link_loses_readings_and_no_ride_and_sends_a_bill(tmp_path: Path) -> None:
    with BrokerThread() as broker:
        heat = make_heat(broker.url, "flaky")
        asyncio.run(hold(heat, tmp_path, run_boards(heat, tmp_path)))
        [bill, _] = json.loads([each for each in broker.received if each.topic == "surf/public/bills"][-1].payload)
        assert bill["bytes"] > 0
        assert bill["dollars"] == pytest.approx(bill["bytes"] / 1000 * WEATHER["flaky"].dollars_per_kilobyte, abs=1e-3)


def test_the_end_is_told_to_whoever_comes_later_when_the_last_ride_is_handed_in(tmp_path: Path) -> None:
    with BrokerThread() as broker:
        heat = make_heat(broker.url)
        asyncio.run(hold(heat, tmp_path, run_boards(heat, tmp_path)))
        [end] = [number for number, each in enumerate(broker.received) if each.topic == END]
        assert (broker.received[end].payload, broker.received[end].retain) == (heat.id.encode(), True)
        assert not any(each.topic.startswith(RIDES[:-1]) for each in broker.received[end:])


def test_a_board_is_up_and_by_its_will_lost(tmp_path: Path) -> None:
    with BrokerThread() as broker:
        heat = make_heat(broker.url)

        async def lose() -> None:
            boards = asyncio.create_task(run_boards(heat, tmp_path))
            await asyncio.to_thread(broker.wait_for, link_topic("kai"))
            broker.faults.cut("heat-kai")
            up, lost, again = await asyncio.to_thread(broker.wait_for, link_topic("kai"), 3)
            assert [up.payload, lost.payload, again.payload] == [b"up", b"lost", b"up"]
            assert lost.is_will
            boards.cancel()
            await asyncio.wait([boards])

        asyncio.run(lose())


def test_what_is_no_ride_or_another_surfers_is_left_out(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with BrokerThread() as broker:
        heat = make_heat(broker.url)
        liar = {
            "id": "heat/mick/9",
            "surfer": "mick",
            "wave": 9,
            "at": 1.0,
            "outcome": "ride finished",
            "water_f": 64.0,
        }

        async def ride_and_lie() -> None:
            await asyncio.to_thread(broker.wait_until, lambda: broker.subscriptions("heat-judge-1") != [])
            async with heat.client("kai") as client:
                await client.publish(ride_topic("kai"), b"{", qos=1)
                await client.publish(ride_topic("kai"), liar | {"points": [(0.0, 9.0, 9.0)]}, qos=1)
                await client.publish(ride_topic("mick"), liar | {"points": [(0.0, 900.0, 9.0)]}, qos=1)
            await run_boards(heat, tmp_path)

        asyncio.run(hold(heat, tmp_path, ride_and_lie()))
    assert caplog.text.count("left out") == 3


def test_a_recording_is_played_again_and_scored(tmp_path: Path) -> None:
    recording = tmp_path / "heat.ndjson"
    with BrokerThread() as broker:
        heat = make_heat(broker.url)
        asyncio.run(hold(heat, tmp_path, run_boards(heat, tmp_path)))
        lines = [{"tidewire_recording": 1, "started": "2026-03-01T08:00:00Z", "started_ns": 0}]
        for number, each in enumerate(broker.received):
            at = {"at_ns": number * 1_000_000, "topic": each.topic, "payload": each.payload.decode()}
            lines.append(at | {"qos": each.qos, "retain": each.retain})
    recording.write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    (tmp_path / "rides.db").unlink()
    with BrokerThread() as broker:
        heat = make_heat(broker.url)
        asyncio.run(hold(heat, tmp_path, replay(heat, recording)))
        assert any(each.topic == reading_topic("kai") for each in broker.received)
        assert [each.payload for each in broker.received if each.topic == END] == [heat.id.encode()]


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        (None, "No such file"),
        ("{}\nnonsense\n", "line 2 is none of a recording"),
        ('{"topic":"surf/rides/kai","payload_base64":"?"}\n', "line 1 is none of a recording"),
        ('{"topic":"surf/rides/kai","payload":"","qos":3}\n', "line 1 is none of a recording"),
    ],
)
def test_a_recording_that_cannot_be_played_is_one_line(text: str | None, complaint: str, tmp_path: Path) -> None:
    recording = tmp_path / "heat.ndjson"
    if text is not None:
        recording.write_text(text)
    result = CliRunner().invoke(surf, ["--directory", str(tmp_path / "heat"), "--replay", str(recording)])
    assert isinstance(result.exception, HeatError)
    assert complaint in str(result.exception)


def test_spectators_read_what_is_public_and_nothing_else(own: tuple[Heat, BrokerThread]) -> None:
    heat, _ = own

    async def try_it() -> None:
        async with Client(heat.url) as spectator:
            async with spectator.subscribe(PUBLIC):
                pass
            with pytest.raises(SubscribeError):
                async with spectator.subscribe(RIDES):
                    pass
            with pytest.raises(PublishError):
                await spectator.publish(PROBE, "1", qos=1)

    asyncio.run(try_it())


def test_a_board_speaks_for_its_own_surfer_only(own: tuple[Heat, BrokerThread]) -> None:
    heat, _ = own

    async def try_it() -> None:
        async with heat.client("kai") as board:
            for topic in (reading_topic("leilani"), ride_topic("leilani"), LEADER_BOARD):
                with pytest.raises(PublishError) as refused:
                    await board.publish(topic, "{}", qos=1)
                assert refused.value.reason_code == ReasonCode.NOT_AUTHORIZED
            await board.publish(reading_topic("kai"), "", qos=1)

    asyncio.run(try_it())


def test_what_is_public_is_in_the_cloud_as_well_and_nothing_else(own: tuple[Heat, BrokerThread]) -> None:
    heat, cloud = own

    async def publish() -> None:
        async with heat.client("operator") as operator:
            await operator.publish(ride_topic("kai"), "for the judges", qos=1)
            await operator.publish(LEADER_BOARD, "for everybody", qos=1, retain=True)

    asyncio.run(publish())
    cloud.wait_for(LEADER_BOARD)
    assert all(each.topic.startswith("surf/public/") for each in cloud.received), cloud.received


def test_each_spectator_receives_each_update(own: tuple[Heat, BrokerThread]) -> None:
    measured = asyncio.run(measure(own[0], count=40, updates=10, every_s=0.01))
    assert measured.received == 40 * 10


def test_a_measurement_that_is_broken_off_ends_in_silence(
    own: tuple[Heat, BrokerThread], caplog: pytest.LogCaptureFixture
) -> None:
    heat, _ = own

    async def break_off() -> None:
        measuring = asyncio.create_task(measure(heat, count=5, updates=100_000, every_s=0.01))
        async with Client(heat.url) as spectator, spectator.subscribe(PROBE) as probes:
            await probes.get(PATIENCE_S)
        measuring.cancel()
        await asyncio.wait([measuring])
        assert measuring.cancelled()

    asyncio.run(break_off())
    gc.collect()  # asyncio speaks of a task when it is thrown away
    assert "never retrieved" not in caplog.text


def test_qos_0_loses_and_qos_1_repeats_and_qos_2_does_neither_and_each_costs_more() -> None:
    none, once, exactly = (asyncio.run(weather_run(WEATHER["flaky"], qos, seed=1)) for qos in (0, 1, 2))
    assert none.lost > 0 == none.twice
    assert once.lost == 0 < once.twice
    assert exactly.lost == exactly.twice == 0
    assert none.bytes < once.bytes < exactly.bytes
    assert min(none.late, once.late, exactly.late) > 0


def test_the_guide_shows_what_the_command_prints() -> None:
    table = asyncio.run(weather_table("flaky", seed=1))
    assert f"```text\n{table}\n```" in (ROOT / "docs" / "surf.md").read_text(encoding="utf-8")


def test_mosquitto_will_do_as_well(tmp_path: Path) -> None:
    with Mosquitto(tmp_path) as mosquitto:
        heat = make_heat(mosquitto.url)
        asyncio.run(hold(heat, tmp_path, run_boards(heat, tmp_path)))
