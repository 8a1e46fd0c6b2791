"""`tidewire access`: say which rule decides, and hold the rules against expectations."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from tidewire.access.control import Policy
from tidewire.access.expectations import ExpectationError, failures, read_expectations
from tidewire.access.explanation import Case, explain
from tidewire.access.rules import Asked
from tidewire.server.access_config import AccessConfig, AccessFault, make_policy
from tidewire.server.config import ConfigError, make_access, read_config
from tidewire.wire.errors import InvalidTopic

CommandT = TypeVar("CommandT", bound=Callable[..., Any])


@click.group()
def access() -> None:
    """Look into access rules, without a broker."""


def _rules_options(command: CommandT) -> CommandT:
    """Where the rules stand."""
    config = click.option(
        "--config",
        "-c",
        "config_file",
        type=click.Path(path_type=Path),
        metavar="FILE.toml",
        help="Its rules.",
    )
    acl_file = click.option("--acl-file", metavar="FILE", help="An access list of Mosquitto alone.")
    return config(acl_file(command))


@access.command("explain", epilog="The exit status is 0 for what is allowed, 1 for what is not.")
@_rules_options
@click.option("--user", "-u", metavar="NAME", help="User name. [default: an anonymous client]")
@click.option("--client", "-i", default="", metavar="IDENTIFIER", help="Client identifier, for rules with %c.")
@click.argument("action", type=click.Choice(["publish", "subscribe"]))
@click.argument("topic")
def explain_command(
    config_file: Path | None, acl_file: str | None, user: str | None, client: str, action: Asked, topic: str
) -> None:
    """Print the rule that decides whether a client may publish to TOPIC, or subscribe to it, and why.

    \b
    Example:
      tidewire access explain --config broker.toml --user alice publish boards/7/state
    """
    try:
        case = Case(user, client, action, topic)
    except InvalidTopic as error:
        raise click.UsageError(str(error)) from None
    explanation = explain(_policy(config_file, acl_file), case)
    verdict = {True: "allowed", False: "denied", None: "asked for"}[explanation.allowed]
    click.echo(f"{verdict}: {case}")
    for line in (explanation.reason, *explanation.details):
        click.echo(f"  {line}")
    sys.exit(0 if explanation.allowed else 1)


@access.command("test", epilog="The exit status is 0 if all of them hold, 1 if one does not.")
@_rules_options
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
def test_command(config_file: Path | None, acl_file: str | None, file: Path) -> None:
    """Hold the rules against the expectations in FILE.

    A line is what is typed after `tidewire access explain`, with the answer before it:

    \b
      allow --user alice --client 7 publish boards/7/state
      deny --user alice subscribe boards/#
    """
    try:
        expectations = read_expectations(file)
    except OSError as error:
        raise click.UsageError(f"cannot read {file}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise click.UsageError(f"{file} is not UTF-8 text") from None
    except ExpectationError as error:
        raise click.UsageError(str(error)) from None
    if not expectations:
        raise click.UsageError(f"{file} expects nothing; write a line such as: deny publish boards/7/state")
    failed = failures(_policy(config_file, acl_file), expectations)
    for expectation, explanation in failed:
        expected = "allowed" if expectation.allowed else "denied"
        click.echo(f"{expectation.place}: should be {expected}: {expectation.case}; {explanation.reason}")
    click.echo(f"{len(expectations) - len(failed)} of {len(expectations)} expectations hold")
    sys.exit(1 if failed else 0)


def _policy(config_file: Path | None, acl_file: str | None) -> Policy:
    if (config_file is None) == (acl_file is None):
        raise click.UsageError("say where the rules are: --config FILE.toml or --acl-file FILE")
    try:
        if config_file is not None:
            return make_access(read_config(config_file, os.environ))
        return make_policy(AccessConfig(acl_file=acl_file))
    except (ConfigError, AccessFault) as error:
        raise click.UsageError(str(error)) from None
