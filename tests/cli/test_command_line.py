"""Is a command line read as mosquitto_pub reads it: -D with its words, the configuration file, -h for the host?"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest

from tidewire.cli.command_line import MosquittoCommand, configuration_file, option, unsupported


@click.command("pub", cls=MosquittoCommand)
@option("Who", "-h", "--host", default="localhost", metavar="HOST", help="The broker.")
@option("What", "-m", "--message", metavar="TEXT", help="The message.")
@option("What", "-t", "--topic", multiple=True)
@option("What", "-r", "--retain", is_flag=True)
@option("What", "-D", "--property", "triples", nargs=3, multiple=True)
@unsupported("Who", "--proxy", metavar="URL", why="there is none; use another way")
def command(**options: Any) -> dict[str, Any]:
    """An example."""
    return options


@pytest.fixture(autouse=True)
def directory(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Path]:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    yield tmp_path


def read(*arguments: str) -> dict[str, Any]:
    options: dict[str, Any] = command.main(list(arguments), standalone_mode=False)
    return options


def refusal(*arguments: str) -> str:
    with pytest.raises(click.UsageError) as raised:
        read(*arguments)
    return raised.value.format_message()


def test_h_is_the_host() -> None:
    assert read("-h", "broker.example")["host"] == "broker.example"


def test_a_property_has_three_words_and_a_user_property_four() -> None:
    triples = read("-D", "publish", "content-type", "text", "--property", "publish", "user-property", "a", "b")[
        "triples"
    ]
    assert triples == (("publish", "content-type", "text"), ("publish", "user-property", "a\0b"))


def test_a_value_that_looks_like_an_option_is_a_value() -> None:
    options = read("-m", "-D", "-t", "--message", "-D", "publish", "user-property", "-D", "-t")
    assert options["message"] == "-D"
    assert options["topic"] == ("--message",)
    assert options["triples"] == (("publish", "user-property", "-D\0-t"),)


def test_a_property_with_too_few_words_is_refused() -> None:
    assert "requires 3 arguments" in refusal("-D", "publish", "content-type")
    assert "a user property has a name and a value" in refusal("-D", "publish", "user-property", "a")


def test_an_unsupported_option_is_refused_with_the_reason() -> None:
    assert refusal("--proxy", "socks5h://x") == "--proxy is not supported: there is none; use another way"


def test_the_configuration_file_comes_first(directory: Path) -> None:
    (directory / "mosquitto_pub").write_text("# mine\n-h broker.example\n-m hello  world\n\n-r\n-t a\n")
    assert read("-m", "other", "-t", "b") == {
        "host": "broker.example",
        "message": "other",
        "retain": True,
        "topic": ("a", "b"),
        "triples": (),
    }
    assert read()["message"] == "hello  world"


def test_a_mistake_in_the_configuration_file_names_the_file(directory: Path) -> None:
    (directory / "mosquitto_pub").write_text("--hots broker.example\n")
    assert refusal() == (
        f"No such option '--hots'. Did you mean '--host'? (the options in {directory}/mosquitto_pub come first)"
    )


def test_a_configuration_file_that_cannot_be_read_is_named(directory: Path) -> None:
    (directory / "mosquitto_pub").mkdir()
    assert refusal() == f"cannot read {directory}/mosquitto_pub: Is a directory"


def test_the_configuration_lies_where_mosquitto_s_does(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("XDG_CONFIG_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert configuration_file("mosquitto_sub") == tmp_path / ".config" / "mosquitto_sub"
    monkeypatch.delenv("HOME")
    assert configuration_file("mosquitto_sub") is None


def test_the_help_has_headings() -> None:
    text = command.get_help(click.Context(command))
    assert text.index("Who:") < text.index("-h, --host HOST") < text.index("What:") < text.index("-m, --message")
