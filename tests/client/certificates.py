"""Whom does TLS trust in these tests? An authority made for each run by `openssl`, and what it has signed."""

from __future__ import annotations

import shutil
import ssl
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.process import PATIENCE_S


@dataclass(frozen=True)
class Certificates:
    """Files in PEM. The server's certificate is for the name `localhost`, and for no address."""

    authority: Path
    chain: Path
    key: Path

    def client_context(self) -> ssl.SSLContext:
        """Of a client that trusts this authority alone."""
        return ssl.create_default_context(cafile=self.authority)

    def server_context(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.chain, self.key)
        return context


def make_certificates(directory: Path) -> Certificates:
    """A new authority, and a server's certificate signed by it."""
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("the openssl command is not installed")

    def make(*arguments: str) -> None:
        subprocess.run(
            [openssl, *arguments], cwd=directory, check=True, capture_output=True, timeout=PATIENCE_S, text=True
        )

    new_key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
    make("req", "-x509", *new_key, "-keyout", "ca.key", "-out", "ca.pem", "-days", "2", "-subj", "/CN=test authority")
    make("req", *new_key, "-keyout", "server.key", "-out", "server.csr", "-subj", "/CN=localhost")
    (directory / "names").write_text("subjectAltName=DNS:localhost\nauthorityKeyIdentifier=keyid\n", encoding="ascii")
    signing = ["-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-extfile", "names", "-days", "2"]
    make("x509", "-req", "-in", "server.csr", "-out", "server.pem", *signing)
    return Certificates(directory / "ca.pem", directory / "server.pem", directory / "server.key")
