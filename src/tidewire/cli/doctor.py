"""`tidewire doctor`: what would keep a broker from working well here, and the command that mends it."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

import click

from tidewire.server.doctor import examine


@click.command()
@click.option(
    "--config", "-c", "file", type=click.Path(path_type=Path), metavar="FILE.toml", help="Configuration file."
)
@click.option("--json", "as_json", is_flag=True, help="Print a list of JSON objects instead.")
def doctor(file: Path | None, as_json: bool) -> None:
    """Look for what is wrong with a configuration and this machine, before a broker starts or while it runs.

    That is: the configuration, ports, certificates, file rights, the limit of open files, the clock, the compiled form
    and the disk. Each finding is one line with the command that mends it. The exit status is 1 when something is wrong;
    hints do not count. Run it as the user that the broker runs as.

    \b
    Examples:
      tidewire doctor
      tidewire doctor --config /etc/tidewire/broker.toml
    """
    findings = examine(file, datetime.now(UTC))
    if as_json:
        click.echo(json.dumps([asdict(finding) for finding in findings], ensure_ascii=False, indent=2))
    else:
        for finding in findings:
            click.echo(finding)
    wrong = any(finding.severity == "wrong" for finding in findings)
    if not wrong and not as_json:
        click.echo("nothing is wrong")
    sys.exit(wrong)
