"""Does `tidewire store` show, take out and put in what a broker keeps, running or stopped, and refuse in one line?"""

from __future__ import annotations

import json
import os
import sqlite3
import struct
import subprocess
import sys
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from tests.cli.running import run
from tests.process import BrokerProcess, tidewire
from tidewire.cli.store import MEASURED_ROWS
from tidewire.store.directory import DataDirectory
from tidewire.store.export import import_records
from tidewire.store.records import Delivery, Message, Record, Retained, Session, Subscription
from tidewire.wire.packets import Publish

LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)
FAR_OFF = datetime(2150, 1, 1, 12, tzinfo=UTC)
CONTENTS: list[Record] = [
    Session("archive", None, 60, LONG_AGO),
    Session("panel\x1b[2J", "anna", 60, FAR_OFF, None, [Subscription("plant/#", 1)]),
    Session("phone", "bert", 60),
    Message(
        topic="plant/1",
        payload="x" * 1200,
        publisher="gateway",
        to=[Delivery("phone", 1, 1, False, [], 7), Delivery("archive", 2)],
    ),
    Message(topic="plant/2", payload_base64=b"\xff" * 1300, to=[Delivery("phone", 3)], expires_at=FAR_OFF),
    Retained(
        topic="lamp/1", payload="on", qos=1, publisher="app", user="anna", address="[::1]:9", published_at=FAR_OFF
    ),
    Retained(topic="lamp/2", payload="o" * 39 + "ö"),
    Retained(topic="other", payload_base64=b"\xff"),
]


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory with a store."""
    monkeypatch.setenv("TZ", "UTC")
    directory = tmp_path / "data"
    directory.mkdir()
    import_records(directory / "broker.db", [("here", record) for record in CONTENTS], replace=False)
    return directory


def said(data: Path, *arguments: str | Path) -> str:
    result = run("store", "--data", data, *arguments)
    assert result.exit_code == 0, result.output
    return result.output


def change(data: Path, *commands: str) -> None:
    with closing(sqlite3.connect(data / "broker.db", isolation_level=None)) as database:
        for command in commands:
            database.execute(command)


def refusal(data: Path, *arguments: str | Path) -> str:
    """The one line of a command that is refused."""
    result = run("store", "--data", data, *arguments)
    assert (result.exit_code, result.output.count("\n")) == (2, 1), result.output
    assert result.output.startswith("tidewire: ")
    return result.output


def lines(data: Path, *arguments: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in said(data, *arguments).splitlines()]


def test_info_says_in_figures_what_is_there(data: Path) -> None:
    size = f"{(data / 'broker.db').stat().st_size:,}".replace(",", " ")
    assert said(data, "info", "--table").splitlines() == [
        f"{data}/broker.db, schema 2; no broker runs on it",
        f"  file        {size} bytes",
        "  sessions    3, with 1 subscription",
        "  messages    2, 2 514 bytes",
        "  deliveries  2 waiting, 1 in flight",
        "  retained    3, 61 bytes",
        "  oldest      on plant/1, waiting for archive",
        "  queues      phone: 2 messages, 2 514 bytes",
        "              archive: 1 message, 1 207 bytes",
    ]


def test_sessions_are_a_table_that_does_not_obey_what_clients_are_called(data: Path) -> None:
    assert said(data, "sessions", "--table").splitlines() == [
        "CLIENT        USER  ENDS                 SUBSCRIPTIONS  WAITING  IN FLIGHT  BYTES",
        "archive       -     has ended                        0        1          0  1 207",
        r"panel\x1b[2J  anna  2150-01-01 12:00:00              1        0          0      0",
        "phone         bert  was connected                    0        1          1  2 514",
    ]
    assert len(said(data, "sessions", "--table", "p*").splitlines()) == 3


def test_retained_messages_say_with_v_who_published_them_and_when(data: Path) -> None:
    assert said(data, "retained", "--table").splitlines() == [
        "TOPIC   QOS  BYTES  PAYLOAD",
        "lamp/1    1      2  on",
        "lamp/2    0     41  " + "o" * 39 + "…",
        "other     0      1  ff",
    ]
    assert said(data, "retained", "--table", "-v", "+/1").splitlines() == [
        "TOPIC   QOS  BYTES  CLIENT  USER  ADDRESS  PUBLISHED            EXPIRES  PAYLOAD",
        "lamp/1    1      2  app     anna  [::1]:9  2150-01-01 12:00:00  -        on",
    ]


def test_a_queue_is_a_table_with_the_beginnings_of_payloads(data: Path) -> None:
    assert said(data, "queue", "phone", "--table").splitlines() == [
        "STATE        TOPIC    QOS  BYTES  CLIENT   EXPIRES              PAYLOAD",
        "in flight 7  plant/1    1  1 200  gateway  -                    " + "x" * 40 + "…",
        "waiting      plant/2    1  1 300  -        2150-01-01 12:00:00  " + " ".join(["ffffffff"] * 5) + "…",
    ]
    assert len(said(data, "queue", "phone", "--table", "--limit", "1").splitlines()) == 2


def test_into_a_pipe_go_json_lines_with_whole_payloads(data: Path) -> None:
    (info,) = lines(data, "info")
    assert (info["sessions"], info["broker_pid"], info["oldest_waiting"]["client"]) == (3, None, "archive")
    assert [line["client"] for line in lines(data, "sessions")] == ["archive", "panel\x1b[2J", "phone"]
    first, second = lines(data, "queue", "phone")
    assert (first["payload"], first["packet_identifier"]) == ("x" * 1200, 7)
    assert ("payload" in second, second["payload_base64"][:4]) == (False, "////")
    assert lines(data, "retained", "lamp/1") == [
        {
            "topic": "lamp/1",
            "qos": 1,
            "payload_bytes": 2,
            "expires_at": None,
            "publisher": "app",
            "user": "anna",
            "address": "[::1]:9",
            "published_at": "2150-01-01T12:00:00Z",
            "payload": "on",
        }
    ]


def test_a_table_of_nothing_says_so(data: Path) -> None:
    assert said(data, "retained", "nowhere/#", "--table").splitlines()[1:] == ["tidewire: there is none"]
    assert said(data, "retained", "nowhere/#") == ""


def test_what_comes_after_the_rows_that_were_measured_is_shown_too(tmp_path: Path) -> None:
    count = MEASURED_ROWS + 5
    import_records(
        tmp_path / "broker.db",
        [
            ("here", Retained(topic=f"t/{number:05}" + "long" * (number == count - 1), payload="x"))
            for number in range(count)
        ],
        replace=False,
    )
    table = said(tmp_path, "retained", "--table").splitlines()
    assert len(table) == 1 + count
    assert table[-1].split() == [f"t/{count - 1:05}long", "0", "1", "x"]


def test_what_is_exported_to_a_file_is_imported_from_it(data: Path, tmp_path: Path) -> None:
    file = tmp_path / "store.jsonl"
    said(data, "export", file)
    assert file.stat().st_mode & 0o077 == 0
    other = tmp_path / "other"
    assert said(other, "import", file) == "imported 3 sessions, 2 waiting messages and 3 retained messages\n"
    assert said(other, "export") == file.read_text() == said(data, "export")
    assert "has a session of the client 'archive' already" in refusal(other, "import", file)
    said(other, "import", "--replace", file)
    assert said(other, "export") == file.read_text()


def test_an_export_goes_through_a_pipe(data: Path, tmp_path: Path) -> None:
    exported = tidewire("store", "--data", data, "export")
    done = tidewire("store", "--data", tmp_path / "other", "import", "-", stdin=exported.stdout)
    assert (done.returncode, done.stderr) == (0, "")
    assert said(tmp_path / "other", "export") == exported.stdout


def test_no_file_is_written_over(data: Path, tmp_path: Path) -> None:
    file = tmp_path / "letter"
    file.write_text("dear")
    for command in ("export", "backup"):
        assert "exists already; name another file" in refusal(data, command, file)
        assert file.read_text() == "dear"


def test_a_backup_in_the_place_of_the_store_is_the_store_as_it_was(data: Path, tmp_path: Path) -> None:
    before = said(data, "export")
    said(data, "backup", tmp_path / "copy.db")
    change(data, "DELETE FROM retained")
    assert said(data, "export") != before
    (tmp_path / "copy.db").replace(data / "broker.db")
    assert said(data, "export") == before


def test_compact_says_what_it_has_given_back(data: Path) -> None:
    size = (data / "broker.db").stat().st_size
    assert said(data, "compact").startswith(f"{data}/broker.db: ")
    assert (data / "broker.db").stat().st_size <= size


def test_verify_has_a_line_for_each_fault_and_status_1(data: Path) -> None:
    assert said(data, "verify") == f"{data}/broker.db is whole\n"
    change(
        data,
        "UPDATE retained SET payload = x'00' WHERE topic = CAST('lamp/1' AS BLOB)",
        "INSERT INTO received VALUES (99, 1)",
    )
    result = run("store", "--data", data, "verify")
    assert (result.exit_code, result.output.count("\n")) == (1, 2)
    assert "'lamp/1' is not what it was" in result.output
    (data / "broker.db").write_bytes(b"a letter" * 1000)
    result = run("store", "--data", data, "verify")
    assert (result.exit_code, result.output.count("\n")) == (1, 1)


def test_all_that_reads_works_on_a_running_broker_and_what_writes_is_refused(data: Path, tmp_path: Path) -> None:
    said(data, "export", tmp_path / "export")
    with BrokerProcess("--data", data) as broker:
        app = broker.connect("app", user_name="anna", password=b"x")
        app.send(Publish(b"lamp/3", b"off", 1, True, packet_identifier=1))
        app.receive()
        assert f"broker {broker.process.pid} runs on it" in said(data, "info", "--table")
        (kept,) = lines(data, "retained", "lamp/3")
        assert (kept["publisher"], kept["payload"]) == ("app", "off")
        assert kept["address"].startswith("127.0.0.1:")
        assert len(lines(data, "sessions")) >= 1
        assert len(lines(data, "queue", "phone")) == 2
        said(data, "verify")
        said(data, "backup", tmp_path / "copy.db")
        assert f"stop it first: kill {broker.process.pid}" in refusal(data, "import", tmp_path / "export")
        assert "gives space back by itself; to compact it all the same, stop it first" in refusal(data, "compact")
        assert len(said(data, "export").splitlines()) > 1
        app.close()
        assert broker.stop() == 0
    assert lines(data, "retained", "lamp/3") == [kept]


def test_an_import_is_refused_while_the_lock_is_held_and_leaves_the_store_alone(data: Path, tmp_path: Path) -> None:
    said(data, "export", tmp_path / "export")
    directory = DataDirectory(data)
    directory.take()
    try:
        assert f"a broker runs on {data}; to import something, stop it first: kill {os.getpid()}" in refusal(
            data, "import", tmp_path / "export"
        )
    finally:
        directory.release()


@pytest.mark.parametrize(
    ("arguments", "status_said"),
    [
        (["info"], "there is no store in"),
        (["sessions"], "there is no store in"),
        (["compact"], "there is no store in"),
        (["verify"], "there is no store in"),
        (["backup", "{tmp}/copy"], "there is no store in"),
        (["export", "{tmp}/copy"], "there is no store in"),
        (["import", "{tmp}/none"], "No such file"),
        (["import", "--mosquitto", "{tmp}/none"], "No such file"),
        (["import", "{tmp}"], "Is a directory"),
    ],
)
def test_where_there_is_nothing_it_is_told_and_nothing_is_made(
    tmp_path: Path, arguments: list[str], status_said: str
) -> None:
    data = tmp_path / "none at all"
    assert status_said in refusal(data, *(argument.format(tmp=tmp_path) for argument in arguments))
    assert list(tmp_path.iterdir()) == []


def test_arguments_that_cannot_be_are_told(data: Path) -> None:
    assert "# must be the whole last level" in refusal(data, "retained", "a/#/b")
    assert refusal(data, "queue", "nobody") == (
        "tidewire: there is no session of the client 'nobody'; see which there are: "
        f"tidewire store --data {data} sessions\n"
    )
    assert "0 is not a whole number from 1 on" in refusal(data, "queue", "phone", "--limit", "0")


def test_a_newer_store_and_a_damaged_one_are_told(data: Path) -> None:
    change(data, "PRAGMA user_version = 99")
    assert "newer Tidewire: update this one" in refusal(data, "info")
    assert "newer Tidewire: update this one" in refusal(data, "verify")
    (data / "broker.db").write_bytes(b"a letter" * 1000)
    assert "is damaged" in refusal(data, "info")
    assert "is damaged" in refusal(data, "compact")


def test_the_directory_is_where_environment_or_configuration_say(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    configuration = tmp_path / "broker.toml"
    configuration.write_text(f'data = "{data}"\n')
    assert run("store", "-c", configuration, "info").exit_code == 0
    assert run("store", "-c", tmp_path / "none.toml", "info").exit_code == 2
    monkeypatch.setenv("TIDEWIRE_DATA", str(data))
    assert run("store", "info").exit_code == 0


def mosquitto_db(*chunks: tuple[int, bytes]) -> bytes:
    head = b"\x00\xb5\x00mosquitto db" + bytes(4) + struct.pack("!I", 6)
    return head + b"".join(
        struct.pack("!II", kind, len(body)) + body for kind, body in ((1, bytes(9) + b"\x08" + bytes(6)), *chunks)
    )


def test_what_mosquitto_kept_is_imported_or_nothing_of_it(tmp_path: Path) -> None:
    message = bytes([1]) + bytes(15) + struct.pack("!IHHHHHBB", 2, 0, 0, 0, 6, 0, 1, 1) + b"lamp/1on"
    client = bytes(8) + struct.pack("!IHHHH4x", 60, 0, 5, 0, 0) + b"alice"
    waiting = bytes([1]) + bytes(7) + struct.pack("!HHBBBB", 0, 5, 1, 11, 0, 1) + b"alice"
    at_most_once = bytes([1]) + bytes(7) + struct.pack("!HHBBBB", 0, 5, 0, 11, 0, 1) + b"alice"
    file = tmp_path / "mosquitto.db"
    whole = mosquitto_db((2, message), (6, client), (3, waiting), (3, at_most_once), (4, bytes([1]) + bytes(7)))
    data = tmp_path / "data"
    file.write_bytes(whole[:-3])
    assert "is damaged at byte" in refusal(data, "import", "--mosquitto", file)
    assert not data.exists()
    file.write_bytes(whole)
    assert said(data, "import", "--mosquitto", file).splitlines() == [
        "tidewire: left out: 1 message of QoS 0 that waited for clients; only QoS 1 and 2 are kept",
        "imported 1 session, 1 waiting message and 1 retained message",
    ]
    assert [(kept["topic"], kept["payload"]) for kept in lines(data, "retained")] == [("lamp/1", "on")]
    assert [waits["topic"] for waits in lines(data, "queue", "alice")] == ["lamp/1"]


def test_who_reads_may_have_enough(data: Path) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(
        [sys.executable, "-m", "tidewire", "store", "--data", str(data), "retained"],
        stdout=writer,
        stderr=subprocess.PIPE,
        check=False,
    )
    os.close(writer)
    assert (done.returncode, done.stderr) == (0, b"")


def test_the_help_shows_how_it_is_used() -> None:
    result = run("store", "--help")
    assert result.exit_code == 0
    for command in ("info", "sessions", "retained", "queue", "export", "import", "backup", "compact", "verify"):
        assert f"  {command} " in result.output
