"""How is something fetched by HTTP from a service that is trusted? Bounded in time and size, and from nowhere else."""

from __future__ import annotations

import ssl
import urllib.request
from collections.abc import Mapping
from email.message import Message as Headers
from http.client import HTTPException
from ipaddress import ip_address
from time import monotonic
from typing import IO, Final
from urllib.parse import urlsplit

_PIECE_BYTES: Final = 64 * 1024


class FetchError(Exception):
    """Nothing usable came; the text says why."""


class WebClient:
    """Fetches, and waits meanwhile: for a thread."""

    def __init__(self, timeout_s: float, limit_bytes: int, ca_file: str | None = None) -> None:
        """Raises OSError for a CA file that cannot be read."""
        self._timeout_s = timeout_s
        self._limit_bytes = limit_bytes
        context = ssl.create_default_context(cafile=ca_file)
        self._opener = urllib.request.build_opener(_NoRedirects, urllib.request.HTTPSHandler(context=context))

    def fetch(self, url: str, body: bytes | None = None, headers: Mapping[str, str] | None = None) -> bytes:
        """GET, or POST if there is a body; what came with status 200. Raises FetchError."""
        request = urllib.request.Request(url, body, dict(headers or {}))
        give_up_at = monotonic() + self._timeout_s
        received = b""
        try:
            with self._opener.open(request, timeout=self._timeout_s) as response:
                if response.status != 200:
                    raise FetchError(f"status {response.status}")
                while piece := response.read1(_PIECE_BYTES):
                    received += piece
                    if len(received) > self._limit_bytes:
                        raise FetchError(f"more than {self._limit_bytes} bytes came")
                    if monotonic() > give_up_at:  # each read has a time-out, the sum of them none
                        raise FetchError("it takes too long")
        except (OSError, HTTPException, ValueError) as error:
            raise FetchError(str(error)) from None
        return received


def is_private(url: str) -> bool:
    """Whether nobody on the way can read along, or change it: https, or a service on this machine."""
    parts = urlsplit(url)
    return parts.scheme == "https" or (parts.scheme == "http" and is_loopback(parts.hostname or ""))


def is_loopback(host: str) -> bool:
    """Whether a host is this machine, by its name or address alone: only programs on it reach what listens there."""
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """Another address has nobody's trust: a redirection is a failure."""

    def redirect_request(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: Headers, newurl: str
    ) -> None:
        return None
