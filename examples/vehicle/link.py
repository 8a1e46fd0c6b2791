"""How does anything here get to the broker? One certificate each, and a session that outlives a cut."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import Any, Final

import click
from msgspec import Struct

from tidewire import Backoff, Client

KEEP_ALIVE_S: Final = 2
"""A link that has silently gone is noticed after one and a quarter of it, and only then the dead-man limit begins."""

SESSION_EXPIRY_S: Final = 3600
"""How long commands and answers at QoS 1 and 2 are kept for whoever is away, as far as they have not expired."""

BACKOFF: Final = Backoff(first=0.2, maximum=2.0)
"""A vehicle out of reach stands in somebody's way: it tries more often than other boards would."""


class Link(Struct, frozen=True):
    """Where the broker is, and as whom to go there."""

    url: str
    name: str
    """The user: the name in the certificate."""
    certificates: Path | None = None
    """Directory with `ca.pem`, `NAME.pem` and `NAME.key`, as `tidewire certs make` makes it."""

    def client(self, client_id: str, **options: Any) -> Client:
        """A client that is not connected yet; `options` are those of `tidewire.Client`.

        Raises click.ClickException for a URL or certificates that cannot be used.
        """
        try:
            return Client(
                self.url,
                client_id=client_id,
                clean_start=False,
                session_expiry=SESSION_EXPIRY_S,
                keep_alive=KEEP_ALIVE_S,
                reconnect=BACKOFF,
                tls=self._tls(),
                **options,
            )
        except ValueError as error:
            raise click.ClickException(str(error)) from None

    def _tls(self) -> ssl.SSLContext | None:
        if self.certificates is None:
            return None
        files = [self.certificates / file for file in ("ca.pem", f"{self.name}.pem", f"{self.name}.key")]
        for file in files:
            if not file.is_file():
                raise click.ClickException(f"{file} is missing; tidewire certs make {file.parent} --client {self.name}")
        try:
            context = ssl.create_default_context(cafile=files[0])
            context.load_cert_chain(files[1], files[2])
        except ssl.SSLError as error:
            raise click.ClickException(
                f"{self.certificates}: {error}; make them anew with tidewire certs make"
            ) from None
        return context
