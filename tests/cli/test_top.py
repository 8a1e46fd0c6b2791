"""Does `tidewire top` show what the broker says of itself, over HTTP and over `$SYS`?"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from tests.cli.running import Running, run
from tests.process import BrokerProcess
from tidewire.cli.exits import Exit
from tidewire.server.admin_types import Overview
from tidewire.wire.packets import Pingreq, Publish

TOKEN = "0123456789abcdef0123456789abcdef"


class Administered:
    """A broker with an administration, and what its clients have published."""

    def __init__(self, directory: Path) -> None:
        self.token_file = directory / "admin.token"
        self.token_file.write_text(f"{TOKEN}\n")
        self.token_file.chmod(0o600)
        config = directory / "broker.toml"
        config.write_text(
            'bind = ["127.0.0.1"]\nport = 0\ndurability = "memory"\n'
            "[limits]\nsys_interval_s = 1\n"
            f'[admin]\nport = 0\ntoken_file = "{self.token_file}"\n'
        )
        self.process = BrokerProcess("--config", config)
        self.url = self.process.wait_for(r"admin: (http://\S+)").group(1)
        self.port = str(self.process.port)
        client = self.process.connect("lamp", 5)
        client.send(*[Publish(b"a", b"x", retain=True)] * 7, Pingreq())
        client.receive()


@pytest.fixture(scope="module")
def administered(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Administered]:
    broker = Administered(tmp_path_factory.mktemp("top"))
    with broker.process:
        yield broker


def test_once_over_http(administered: Administered) -> None:
    result = run("top", "--once", "--token-file", administered.token_file, "--admin", administered.url)
    assert result.exit_code == Exit.DONE, result.output
    lines = {line.split()[0]: line.split()[1:] for line in result.stdout.splitlines() if line}
    assert lines["clients"][:4] == ["connected", "1", "sessions", "1"]
    assert lines["messages"][:2] == ["in", "7"]
    assert lines["kept"][:2] == ["retained", "1"]  # $SYS is not counted
    assert lines["listener"][0] == f"mqtt://127.0.0.1:{administered.port}"
    assert "cpu" in lines["process"]


def test_once_as_json_is_the_overview(administered: Administered) -> None:
    result = run("top", "--once", "--json", "--token-file", administered.token_file, "--admin", administered.url)
    overview = msgspec.json.decode(result.stdout, type=Overview)
    assert (overview.connections, overview.totals.messages_in, overview.store) == (1, 7, "none")


def test_once_over_sys(administered: Administered) -> None:
    with Running("top", "--json", "-p", administered.port) as watching:
        assert watching.process.stdout is not None
        while True:  # at each interval a line, until $SYS has what the client did
            overview = json.loads(watching.process.stdout.readline())
            if overview["retained_messages"] == 1 and overview["connections"] == 2:
                break
    assert overview["totals"]["messages_in"] >= 7
    assert overview["cpu_share"] == -1
    assert overview["version"].count(".") == 2
    result = run("top", "--once", "-p", administered.port)
    assert result.exit_code == Exit.DONE
    assert "messages    in 7 " in result.stdout
    assert "kept        retained 1 " in result.stdout
    assert "process" not in result.stdout


def test_it_goes_on_until_it_is_told_to_stop(administered: Administered) -> None:
    arguments = ("--token-file", administered.token_file, "--admin", administered.url, "--every", "0.1")
    with Running("top", "--json", *arguments) as watching:
        assert watching.process.stdout is not None
        seen = [json.loads(watching.process.stdout.readline())["uptime_s"] for _ in range(3)]
    assert seen == sorted(set(seen))


@pytest.mark.parametrize(
    ("token", "url", "status", "said"),
    [
        ("x" * 32, None, Exit.NOT_CONNECTED, "the token is another one"),
        (TOKEN, "http://127.0.0.1:1", Exit.NOT_CONNECTED, "is [admin] configured, and the broker up?"),
        (TOKEN, "http://192.0.2.1", Exit.NOT_CONNECTED, "would carry the token in the clear"),
        ("", None, Exit.USAGE, "there is no token in"),
    ],
)
def test_what_keeps_it_from_its_answer_is_told_in_one_line(
    administered: Administered, tmp_path: Path, token: str, url: str | None, status: Exit, said: str
) -> None:
    file = tmp_path / "token"
    file.write_text(token)
    result = run("top", "--once", "--token-file", file, "--admin", url or administered.url)
    assert (result.exit_code, result.stdout) == (status, "")
    assert said in result.stderr
    assert result.stderr.count("\n") == 1


def test_a_token_file_that_is_not_there_is_a_mistake_of_the_command_line(tmp_path: Path) -> None:
    result = run("top", "--once", "--token-file", tmp_path / "none")
    assert (result.exit_code, result.stdout) == (Exit.USAGE, "")
    assert "cannot read" in result.stderr


def test_an_address_without_a_token_is_a_mistake_of_the_command_line() -> None:
    result = run("top", "--admin", "http://127.0.0.1:9883")
    assert result.exit_code == Exit.USAGE
    assert "add --token-file FILE" in result.stderr
