"""What can be said of the administration over HTTP, `[admin]` of the configuration, and what can be wrong with it."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Final

import msgspec

from tidewire.server.http_config import HttpConfigFault, check_addresses
from tidewire.server.toml_lines import Place

TOKEN_CHARACTERS: Final = 32
"""The least: what has fewer could be guessed, as nobody has to wait between attempts."""

TOKEN_BYTES: Final = 4096
"""The most that is read of a token file: whatever is longer is another file."""

METRICS_CLIENTS: Final = 1000
"""The most of which Prometheus is told: each client is a dozen time series there, kept for as long as it keeps any."""


class AdminConfig(msgspec.Struct, forbid_unknown_fields=True):
    """`[admin]`: the broker's administration over HTTP. There is none without this table."""

    token_file: str
    """A file with the token in its first line, that only its owner may read. Requests carry it as a bearer token."""
    bind: list[str] = msgspec.field(default_factory=lambda: ["127.0.0.1"])
    """Addresses to listen on; those of other machines only with a certificate."""
    port: Annotated[int, msgspec.Meta(ge=0, le=65_535)] = 9883
    """TCP port; 0: any free one."""
    certificate: str | None = None
    """PEM file with the certificate for HTTPS."""
    key: str | None = None
    """The key of that certificate."""
    metrics_clients: Annotated[int, msgspec.Meta(ge=0, le=METRICS_CLIENTS)] = 0
    """At `/metrics`, what so many clients have cost, the costliest of the month; each is a dozen time series."""


def admin_faults(config: AdminConfig | None) -> Iterator[tuple[Place, str]]:
    """What keeps it from being served, and where it stands. It reads the files that are named."""
    if config is None:
        return
    for part in (read_token, lambda config: check_addresses(config, "the token")):
        try:
            part(config)
        except HttpConfigFault as fault:
            yield ("admin", *fault.key), str(fault)


def read_token(config: AdminConfig) -> bytes:
    """The token. Raises HttpConfigFault for one that others may know, or guess."""
    path = Path(config.token_file).expanduser()
    make = f"make one: (umask 077; openssl rand -hex 32 > {path})"
    try:
        with path.open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            line = file.read(TOKEN_BYTES).partition(b"\n")[0].strip()
    except OSError as error:
        raise HttpConfigFault(f"cannot read {path}: {error.strerror}; {make}", "token_file") from None
    if os.name == "posix" and mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise HttpConfigFault(f"{path} may be read by others than its owner; mend it: chmod 600 {path}", "token_file")
    if len(line) < TOKEN_CHARACTERS or not line.isascii() or not line.decode().isprintable() or b" " in line:
        wanted = f"{TOKEN_CHARACTERS} or more characters without spaces"
        raise HttpConfigFault(f"the first line of {path} is no token of {wanted}; {make}", "token_file")
    return line
