"""Does the comparison of engines deliver what it says, and does it tell a slow one from a fast one?"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner

from benchmarks.engine.__main__ import main
from benchmarks.engine.work import ALL_WORK, Stage, Work

SOURCES = Path(__file__).parent.parent.parent / "src"


@pytest.mark.parametrize("qos", [0, 1])
def test_a_round_delivers_every_message_and_leaves_none_unacknowledged(qos: int) -> None:
    stage = Stage(Work("few", 3, qos, 5))
    for _ in range(2):
        before = stage.broker.statistics.publish_sent
        assert stage.round() > 0
        assert stage.broker.statistics.publish_sent - before == stage.work.deliveries
        assert stage.unacknowledged() == 0


def test_a_round_that_loses_messages_has_no_figure() -> None:
    stage = Stage(Work("few", 3, 0, 5))
    stage.broker.sessions["sink 1"].link = None
    with pytest.raises(SystemExit, match=r"^few: [0-9]+ messages were delivered, not [0-9]+$"):
        stage.round()


def test_all_work_takes_about_as_many_visits() -> None:
    for work in ALL_WORK.values():
        visits = work.reads * work.subscribers * (work.messages if work.qos else 1)
        assert visits == 8000, work.key


def test_builds_are_compared_with_the_first(tmp_path: Path) -> None:
    result = tmp_path / "engine.json"
    arguments = [str(SOURCES), str(SOURCES), "--only", "pair-qos0,pair-qos1", "--rounds", "3", "--json", str(result)]
    done = CliRunner().invoke(main, arguments)
    assert done.exit_code == 0, done.output
    assert done.output.count(str(SOURCES)) == 4
    document = json.loads(result.read_text())
    assert document["builds"] == [str(SOURCES)] * 2
    for first, second in (document["figures"]["pair-qos0"], document["figures"]["pair-qos1"]):
        assert first["ratio"] == 1.0
        assert second["ratio"] > 0.0
        assert first["ns_per_delivery"] >= first["least_ns"] > 0.0


def test_a_build_that_loses_messages_fails(tmp_path: Path) -> None:
    shutil.copytree(SOURCES, tmp_path, ignore=shutil.ignore_patterns("*.so", "__pycache__"), dirs_exist_ok=True)
    router = tmp_path / "tidewire" / "engine" / "router.py"
    text = router.read_text()
    assert text.count("statistics.publish_sent += sent") == 1
    router.write_text(text.replace("statistics.publish_sent += sent", "statistics.publish_sent += sent - 1"))
    done = CliRunner().invoke(main, [str(tmp_path), "--only", "fan-out-1000-qos0", "--rounds", "1"])
    assert done.exit_code == 1
    said = "Error: a build failed: fan-out-1000-qos0: 239992 messages were delivered, not 240000\n"
    assert done.output == said


def test_a_build_that_cannot_be_loaded_says_why(tmp_path: Path) -> None:
    (tmp_path / "tidewire" / "engine").mkdir(parents=True)
    (tmp_path / "tidewire" / "__init__.py").write_text("raise ImportError('it is not whole')\n")
    done = CliRunner().invoke(main, [str(tmp_path), "--rounds", "1"])
    assert done.exit_code == 1
    assert done.output == "Error: a build failed: ImportError: it is not whole\n"


def test_what_is_no_build_or_no_work_is_said_in_one_line(tmp_path: Path) -> None:
    done = CliRunner().invoke(main, [str(tmp_path)])
    assert done.exit_code == 2
    assert f"{tmp_path} holds no tidewire/engine; name a build/compiled or src" in done.output
    done = CliRunner().invoke(main, [str(SOURCES), "--only", "pear"])
    assert done.exit_code == 2
    assert "pear; there are pair-qos0-single" in done.output
