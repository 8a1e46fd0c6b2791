"""`tidewire access`: say which rule decides, and hold the rules against expectations."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from tidewire.access.control import Policy
from tidewire.access.expectations import ExpectationError, failures, read_expectations
from tidewire.access.explanation import Case, explain
from tidewire.access.rules import Asked, RuleSet
from tidewire.server.access_config import AccessConfig, AccessFault, make_policy
from tidewire.server.config import ConfigError, make_access, read_config

if TYPE_CHECKING:
    from tidewire.access.tokens import Token

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
@click.option("--token", "shown", metavar="JWT", help="Token that the client shows: it says the user, and has rules.")
@click.argument("action", type=click.Choice(["publish", "subscribe"]))
@click.argument("topic")
def explain_command(
    config_file: Path | None,
    acl_file: str | None,
    user: str | None,
    client: str,
    shown: str | None,
    action: Asked,
    topic: str,
) -> None:
    """Print the rule that decides whether a client may publish to TOPIC, or subscribe to it, and why.

    \b
    Examples:
      tidewire access explain --config broker.toml --user alice publish boards/7/state
      tidewire access explain --config broker.toml --token "$(cat alice.jwt)" publish boards/7/state
    """
    if user is not None and shown is not None:
        raise click.UsageError("the token says who the user is; leave out --user")
    policy = _policy(config_file, acl_file)
    token = _token(policy, shown) if shown is not None else None
    if token is not None:
        user = token.user_name
    try:
        case = Case(user, client, action, topic)
    except ValueError as error:
        raise click.UsageError(str(error)) from None
    explanation = explain(policy, case, RuleSet(token.rules) if token is not None else None)
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

    A line is what is typed after `tidewire access explain`, without a token, with the answer before it:

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


def _token(policy: Policy, shown: str) -> Token:
    """What a token proves to a broker with this policy; ends the program where it is refused."""
    from tidewire.access.tokens import InvalidToken  # noqa: PLC0415 (loads a library that few commands need)

    tokens = policy.tokens
    if tokens is None:
        raise click.UsageError("no token is taken: --config FILE.toml needs [access.jwt], with the key of the tokens")
    looked_at = tokens.token_of(shown, shown.encode()) if shown.isascii() else None
    if looked_at is None:
        raise click.UsageError("--token is no signed JSON Web Token: three parts with dots between, beginning with ey")
    try:
        return tokens.verify(looked_at)
    except InvalidToken as error:
        click.echo(f"denied: who shows this token may not connect\n  {error}")
        sys.exit(1)
