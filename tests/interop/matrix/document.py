"""docs/interop.md: what each client was found to do."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

from tests.interop.matrix.clients import CLIENTS, TRANSPORTS, OtherClient

DOCUMENT: Final = Path(__file__).parents[3] / "docs" / "interop.md"

NOT_SPOKEN: Final = "–"

HEAD: Final = """\
# Other people's clients

`make interop` runs each of these libraries against `tidewire serve`, in the version of MQTT and over the transport
named. "yes" means that all of this works:

- **QoS 0, 1 and 2**: the client publishes, and another of its kind gets all messages in order, and so does
  `tidewire.Client`; what that one publishes reaches both as well.
- **retained**: a message that the client left is there, marked as retained, for a later subscriber of either kind.
- **will**: when the client's process is killed, its will reaches a subscriber of either kind.

`tidewire.Client` is on the same transport and version each time. Certificates are those of `tidewire certs make`;
each client is told to trust their authority, except Chromium, which is told not to look. “–” is what the library does
not speak.

This page is generated: `make interop` writes it when all of it ran. `make interop ARGS="--only 'Paho C'"` tries one
client; a client whose tool chain is not installed is left out, and the run says what to install.

"""

Results = dict[tuple[str, str, str], dict[str, str]]
"""Client, version and scheme; then the case, and what went wrong."""


def render(results: Results) -> str:
    """The page."""
    rows = [
        f"| {client.name} | {client.library} | {version} | {' | '.join(_cells(client, version, results))} |"
        for client in CLIENTS
        for version in client.versions
    ]
    names = ["client", "library", "MQTT", *TRANSPORTS.values()]
    return "\n".join([f"{HEAD}| {' | '.join(names)} |", "|---" * len(names) + "|", *rows, ""])


def stale() -> bool:
    """Whether the page on disk speaks of other clients, versions or transports than there are; nothing is run."""
    return not DOCUMENT.exists() or shape(DOCUMENT.read_text(encoding="utf-8")) != shape(render({}))


def _cells(client: OtherClient, version: str, results: Results) -> list[str]:
    return [_cell(client, scheme, results.get((client.name, version, scheme))) for scheme in TRANSPORTS]


def _cell(client: OtherClient, scheme: str, result: dict[str, str] | None) -> str:
    if scheme not in client.transports:
        return NOT_SPOKEN
    if result is None:
        return "not run"
    faults = [case for case, fault in result.items() if fault]
    return f"not {', '.join(faults)}" if faults else "yes"


def shape(page: str) -> str:
    """The page without its findings."""
    return re.sub(r"(?<=\| )(yes|not [^|]*)(?= \|)", "…", page)
