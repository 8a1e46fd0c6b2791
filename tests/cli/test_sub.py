"""Does `tidewire sub` print what mosquitto_sub prints, end when and as it does, and more where that is promised?"""

from __future__ import annotations

import asyncio
import json
import os
import re
import subprocess
import sys
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import click
import pytest

from tests.cli.mosquitto import OURS, Clients, installed
from tests.cli.running import Running
from tests.client.helpers import until
from tests.process import PATIENCE_S, BrokerProcess, tidewire
from tidewire import Client, ReasonCode
from tidewire.access.passwords import set_password
from tidewire.cli import exits
from tidewire.cli.blocking import Worker
from tidewire.cli.mosquitto_options import MosquittoConnection
from tidewire.cli.sub import sub
from tidewire.wire.packets import Publish

sub_module = sys.modules["tidewire.cli.sub"]

RICH = (
    *("-V", "5", "-r", "-q", "1", "-D", "publish", "content-type", "text/plain"),
    *("-D", "publish", "user-property", "a", "1", "-D", "publish", "user-property", "b", "2"),
    *("-D", "publish", "correlation-data", "c0", "-D", "publish", "response-topic", "re/ply"),
    *("-D", "publish", "payload-format-indicator", "1"),
)
TIMES = re.compile(rb'"tst":\s*"[^"]*"')


def sessions(clients: Clients, topic: str, payloads: list[bytes]) -> list[str]:
    """Messages wait in the sessions "theirs" and "ours" of this topic; the flags to go on with either."""
    flags = ["-c", "-q", "1", "-t", topic]
    for side in ("theirs", "ours"):
        clients.mosquitto("sub", *flags, "-i", f"{topic}-{side}", "-E").check_returncode()
    for payload in payloads:
        clients.publish("-t", topic, "-q", "1", *(["-s"] if payload else ["-n"]), stdin=payload)
    return flags


@installed
@pytest.mark.parametrize("flags", [["-v"], [], ["-N"], ["-v", "-N"], ["-F", "%t|%l|%p|%q|%m"], ["-N", "-F", "%p;"]])
def test_waiting_messages_are_printed_as_mosquitto_does(clients: Clients, topic: str, flags: list[str]) -> None:
    payloads = [b"one", b"", b"two lines\n of text", b"\x00\xff\x1b", b"end"]
    session = sessions(clients, topic, payloads)
    theirs = clients.mosquitto("sub", *session, "-i", f"{topic}-theirs", "-C", "5", *flags)
    ours = clients.tidewire("sub", *session, "-i", f"{topic}-ours", "-C", "5", *flags, *([] if flags else ["--plain"]))
    assert (ours.returncode, ours.stderr) == (0, b"")
    assert ours.stdout == theirs.stdout
    assert b"two lines" in ours.stdout


@installed
def test_a_format_prints_what_it_prints_with_mosquitto(clients: Clients) -> None:
    clients.publish("-t", "format/rich", "-m", "hello", *RICH)
    clients.publish("-t", "format/plain", "-m", "12345678901234567890", "-r")
    text = (
        r"%t|%12t|%-12t|%012t|%.3t|%8.3t|%-8.3t|%p|%10p|%-10p|%010p|%3p|%x|%X|%l|%6l|%-6l|%06l|%q|%r|%m|%5m|%C|%12C|"
        r"%.4C|%D|%E|%4E|%F|%3F|%03F|%P|%R|%8R|%S|%5S|%A|%4A|%04A|%%|@@|@Y|@j|@z|\\|\0|\a|\e|\n|\r|\t|\v|é|"
    )
    flags = ("-V", "5", "-q", "1", "-C", "2", "-t", "format/rich", "-t", "format/plain", "-F", text)
    theirs, ours = clients.both("sub", *flags)
    assert ours == theirs
    assert ours[0] == 0
    assert ours[1].count(b"format/") == 8


@installed
def test_a_subscription_identifier_of_the_command_line_is_printed_as_mosquitto_does(clients: Clients) -> None:
    clients.publish("-t", "identifier", "-m", "x", "-r")
    flags = ("-t", "identifier", "-C", "1", "-D", "subscribe", "subscription-identifier", "77", "-F", "%S %04S")
    theirs, ours = clients.both("sub", *flags)
    assert ours == theirs == (0, b"77 0077\n")


@installed
@pytest.mark.parametrize("pretty", [[], ["--pretty"]])
def test_json_is_that_of_mosquitto(clients: Clients, pretty: list[str]) -> None:
    payload = '{"a": [1, 2, {"b": "höhe\\n"}], "c": {}, "d": null, "e": 1.5, "f": "\\""}'
    clients.publish("-t", "json/1", "-m", payload, "-r")
    clients.publish("-t", "json/2", "-m", payload, *RICH)
    for text in ("%j", "%J"):
        flags = ("-V", "5", "-q", "1", "-t", "json/1", "-C", "1", "-F", text, *pretty)
        theirs, ours = clients.both("sub", *flags)
        assert TIMES.sub(b"", ours[1]) == TIMES.sub(b"", theirs[1])
        flags = ("-V", "5", "-q", "1", "-t", "json/2", "-C", "1", "-F", text, *pretty)
        theirs, ours = clients.both("sub", *flags)
        read, expected = json.loads(ours[1]), json.loads(theirs[1])
        assert {**read, "tst": ""} == {**expected, "tst": ""}  # their properties have another order


@installed
def test_a_payload_that_is_no_json_leaves_an_empty_line_and_a_complaint(clients: Clients) -> None:
    clients.publish("-t", "nojson", "-m", "{", "-r")
    theirs, ours = clients.both("sub", "-t", "nojson", "-C", "1", "-F", "%J")
    assert ours == theirs == (0, b"\n")


@installed
@pytest.mark.parametrize(
    "flags",
    [
        ["-C", "2", "-v"],
        ["--retained-only", "-C", "3", "-v"],
        ["-T", "SELECT/b", "-C", "2", "-v"],
        ["-T", "SELECT/+", "-W", "1", "-v"],
        ["-R", "-W", "1"],
        ["-E"],
        ["--retain-as-published", "-V", "5", "-C", "3", "-F", "%t %r"],
        ["-U", "SELECT/a", "-C", "3", "-v"],
    ],
    ids=" ".join,
)
def test_the_same_messages_are_chosen_and_the_same_status_is_returned(
    clients: Clients, topic: str, flags: list[str]
) -> None:
    for name in ("a", "b", "c"):
        clients.publish("-t", f"{topic}/{name}", "-m", name, "-r")
    filters = [word for name in ("a", "b", "c") for word in ("-t", f"{topic}/{name}")]
    theirs, ours = clients.both("sub", *filters, *[flag.replace("SELECT", topic) for flag in flags])
    assert ours == theirs


@installed
def test_retained_messages_are_removed_but_for_those_filtered_out(clients: Clients) -> None:
    for name in ("a", "b", "keep"):
        clients.publish("-t", f"removed/{name}", "-m", name, "-r")
    flags = ("-t", "removed/#", "-T", "removed/keep", "--remove-retained", "--retained-only", "-F", "%t")
    run = clients.tidewire("sub", *flags)
    assert (run.returncode, sorted(run.stdout.split())) == (0, [b"removed/a", b"removed/b"])
    left = clients.mosquitto("sub", "-t", "removed/#", "-C", "1", "-W", "5", "-v")
    assert left.stdout == b"removed/keep keep\n"


def test_minus_W_ends_with_27_and_says_so(broker: BrokerProcess) -> None:
    run = tidewire("sub", "-p", str(broker.port), "-t", "nothing/here", "-W", "1")
    assert (run.returncode, run.stdout, run.stderr) == (27, "", "tidewire: timed out\n")


def test_into_a_pipe_go_json_lines(broker: BrokerProcess) -> None:
    with broker.connect("lines") as publisher:
        publisher.send(Publish(b"lines/a", b'{"feet": 100}', retain=True), Publish(b"lines/b", b"\xff", retain=True))
    run = tidewire("sub", "-p", str(broker.port), "-t", "lines/a", "-t", "lines/b", "-C", "2")
    first, second = map(json.loads, run.stdout.splitlines())
    assert (first["topic"], first["payload"], first["retain"]) == ("lines/a", '{"feet": 100}', 1)
    assert (second["topic"], second["payload_base64"]) == ("lines/b", "/w==")


def test_a_decoder_is_applied_to_every_form_of_output(broker: BrokerProcess) -> None:
    with broker.connect("decode") as publisher:
        publisher.send(Publish(b"decode", b"\x81\xa4feet\x64", retain=True))
    flags = ("-p", str(broker.port), "-t", "decode", "-C", "1", "--decode", "msgpack")
    assert json.loads(tidewire("sub", *flags).stdout)["payload"] == {"feet": 100}
    assert tidewire("sub", *flags, "-v").stdout == 'decode {"feet":100}\n'
    assert tidewire("sub", *flags, "-F", "%p %x").stdout == '{"feet":100} 81a46665657464\n'


def test_what_cannot_be_decoded_is_printed_as_it_is_and_told(broker: BrokerProcess) -> None:
    with broker.connect("undecodable") as publisher:
        publisher.send(Publish(b"undecodable", b"on", retain=True))
    run = tidewire("sub", "-p", str(broker.port), "-t", "undecodable", "-C", "1", "--decode", "json", "--plain")
    assert (run.returncode, run.stdout) == (0, "on\n")
    assert run.stderr.startswith("tidewire: the payload on topic undecodable is not JSON: ")


def test_a_terminal_gets_text_colour_and_hex(broker: BrokerProcess) -> None:
    with broker.connect("screen") as publisher:
        publisher.send(Publish(b"screen/a", b"text", retain=True), Publish(b"screen/b", b"\x1b[2J\xff", retain=True))
    controlling, terminal = os.openpty()
    environment = {**os.environ, "TERM": "xterm"}
    environment.pop("NO_COLOR", None)
    process = subprocess.Popen(
        [*OURS, "sub", "-p", str(broker.port), "-t", "screen/a", "-t", "screen/b", "-C", "2", "-v"],
        stdout=terminal,
        env=environment,
    )
    assert process.wait(PATIENCE_S) == 0
    shown = os.read(controlling, 65_536).decode()
    os.close(terminal)
    os.close(controlling)
    assert "\x1b[36mscreen/a\x1b[0m\x1b[2m [retained]\x1b[0m text" in shown
    assert "1b 5b 32 4a ff  |.[2J.|" in shown
    assert "\x1b[2J" not in shown


def test_messages_beyond_the_count_stay_in_the_session(broker: BrokerProcess) -> None:
    flags = ("-p", str(broker.port), "-i", "counter", "-c", "-q", "1", "-t", "counted", "--plain")
    assert tidewire("sub", *flags, "-E").returncode == 0
    with broker.connect("counted") as publisher:
        for number in range(5):
            publisher.send(Publish(b"counted", b"%d" % number, 1, packet_identifier=number + 1))
            publisher.receive()
    assert tidewire("sub", *flags, "-C", "2").stdout == "0\n1\n"
    assert tidewire("sub", *flags, "-C", "3").stdout == "2\n3\n4\n"


def test_whoever_has_read_enough_ends_it_quietly(broker: BrokerProcess) -> None:
    with broker.connect("reader") as publisher:
        publisher.send(Publish(b"reader", b"x" * 1000, retain=True))
        with Running("sub", "-p", str(broker.port), "-t", "reader", "--plain", "-d") as subscriber:
            subscriber.said("subscribed: ")
            assert subscriber.process.stdout is not None
            assert subscriber.process.stdout.readline() == "x" * 1000 + "\n"
            subscriber.process.stdout.close()
            publisher.publish("reader", b"the last straw")
            subscriber.said("received PUBLISH")
            assert subscriber.process.wait(PATIENCE_S) == 0
            assert subscriber.process.stderr is not None
            assert "rror" not in subscriber.process.stderr.read()


def test_unsubscribing_alone_is_all_it_does(broker: BrokerProcess) -> None:
    flags = ("-p", str(broker.port), "-i", "leaver", "-c", "-q", "1")
    assert tidewire("sub", *flags, "-t", "left", "-E").returncode == 0
    assert tidewire("sub", *flags, "-U", "left").returncode == 0
    with broker.connect("leaver", clean_start=False) as client, broker.connect("left") as publisher:
        publisher.send(Publish(b"left", b"x", 1, packet_identifier=1))
        assert publisher.receive().reason_code in (0, 0x10)  # type: ignore[union-attr]
        client.subscribe("after")
        publisher.publish("after", b"first that comes")
        packet = client.receive()
        assert isinstance(packet, Publish)
        assert packet.payload == b"first that comes"


def test_a_chance_prints_about_so_many(broker: BrokerProcess) -> None:
    flags = ("-p", str(broker.port), "-i", "gambler", "-c", "-q", "1", "-t", "chance", "--plain")
    assert tidewire("sub", *flags, "-E").returncode == 0
    with broker.connect("chance") as publisher:
        for number in range(400):
            publisher.send(Publish(b"chance", b"x", 1, packet_identifier=number + 1))
            publisher.receive()
    printed = tidewire("sub", *flags, "-C", "400", "--random-filter", "50").stdout.count("x")
    assert 100 < printed < 300  # outside by chance once in 10^24 runs


def test_a_refused_filter_is_told_and_the_others_go_on(tmp_path: Path) -> None:
    set_password(tmp_path / "passwords", "alice", b"secret")
    (tmp_path / "broker.toml").write_text(
        f'port = 0\n[access]\npassword_file = "{tmp_path}/passwords"\n'
        '[[access.rules]]\neffect = "allow"\ntopic = "open/#"\n'
    )
    with BrokerProcess("--config", tmp_path / "broker.toml") as broker:
        flags = ("-p", str(broker.port), "-u", "alice", "-P", "secret", "--plain")
        with broker.connect("publisher", version=5, user_name="alice", password=b"secret") as publisher:
            publisher.send(Publish(b"open/a", b"x", retain=True))
        run = tidewire("sub", *flags, "-t", "closed/a", "-t", "open/a", "-C", "1")
        assert (run.returncode, run.stdout) == (0, "x\n")
        assert "refused to subscribe to 'closed/a': not authorized (0x87)" in run.stderr
        run = tidewire("sub", *flags, "-t", "closed/a", "-C", "1")
        assert (run.returncode, run.stdout) == (0x87, "")
        for version, name in (("311", "3.1.1"), ("31", "3.1")):
            run = tidewire("sub", *flags, "-t", "closed/a", "-C", "1", "-V", version)
            assert (run.returncode, run.stdout) == (0x80, "")
            assert run.stderr == (
                f"tidewire: the server refused to subscribe to 'closed/a'; MQTT {name} does not say why, -V 5 does\n"
            )


def test_what_is_too_much_for_the_output_is_dropped_and_told(
    broker: BrokerProcess, topic: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    sent, line = 1000, b"x" * 1000
    reading, writing = os.pipe()
    works: list[Coroutine[Any, Any, int]] = []
    clients: list[Client] = []
    client_of = MosquittoConnection.client

    def kept_client(connection: MosquittoConnection, **arguments: Any) -> Client:
        clients.append(client_of(connection, **arguments))
        return clients[0]

    monkeypatch.setattr(sub_module, "STANDARD_OUTPUT", writing)
    monkeypatch.setattr(sub_module, "WAITING_MESSAGES", 10)
    monkeypatch.setattr(MosquittoConnection, "client", kept_client)
    monkeypatch.setattr(exits, "run", lambda work, quiet: works.append(work))
    sub.main(["-p", str(broker.port), "-t", topic, "--plain"], standalone_mode=False)

    async def flood() -> int:
        running = asyncio.create_task(works[0])
        async with asyncio.timeout(PATIENCE_S), Client(f"mqtt://127.0.0.1:{broker.port}") as publisher:
            while await publisher.publish(topic, "x", qos=1) == ReasonCode.NO_MATCHING_SUBSCRIBERS:
                await asyncio.sleep(0.001)
            for _ in range(sent - 1):
                await publisher.publish(topic, line)
            # Nobody reads the output so far: it is stuck as soon as the pipe is full.
            await until(lambda: clients[0].statistics.publish_received == sent)
            printed = 0
            worker = Worker()
            while printed + (dropped := clients[0].statistics.stream_dropped) < sent:
                printed += (await worker.call(os.read, reading, 65_536)).count(b"\n")
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        assert printed + dropped == sent
        return dropped

    dropped = asyncio.run(flood())
    assert dropped > sent / 2
    assert f"dropped {dropped} messages" in capsys.readouterr().err.splitlines()[-1]
    os.close(reading)
    os.close(writing)


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        ([], "say what to receive: -t FILTER"),
        (["-t", "a/#/b"], "# must be the whole last level"),
        (["-t", "a", "-T", "a#"], "# must be the whole last level"),
        (["-t", "a", "-R", "--retained-only"], "-R and --retained-only together leave nothing to print"),
        (["-t", "a", "-F", "%Z"], "-F: '%Z' is no field"),
        (["-t", "a", "-q", "3"], "3 is not in the range 0<=x<=2"),
        (["-t", "a", "-C", "0"], "0 is not in the range x>=1"),
        (["-t", "a", "-V", "6"], "'6' is not one of"),
    ],
)
def test_a_wrong_command_line_is_refused_with_the_mend(flags: list[str], said: str) -> None:
    with pytest.raises(click.UsageError) as refusal:
        sub.main(flags, standalone_mode=False)
    assert said in refusal.value.format_message()


def test_the_help_has_examples_and_every_flag_of_the_manual_page() -> None:
    text = tidewire("sub", "--help").stdout
    assert "tidewire sub -t 'sensors/#' -v" in text
    manual = (
        "-A -c --disable-clean-session --cafile --capath --cert --ciphers -C -d --debug -D --property -E -F --help -h "
        "--host -i --id -I --id-prefix --insecure -k --keepalive --key --keyform -L --url -N --nodelay -p --port -P "
        "--pw --pretty --proxy --psk --psk-identity -q --qos --quiet -R --random-filter --remove-retained "
        "--retained-only --retain-as-published -S -t --topic -T --filter-out --tls-alpn --tls-engine "
        "--tls-engine-kpass-sha1 --tls-use-os-certs --tls-version -u --username --unix -U --unsubscribe -v --verbose "
        "-V --protocol-version -W --will-payload --will-qos --will-retain --will-topic -x"
    )
    assert set(manual.split()) <= set(re.findall(r"(?<!\w)--?\w[\w-]*", text))
