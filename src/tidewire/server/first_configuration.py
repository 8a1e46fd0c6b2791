"""What stands in a first configuration file? A listener for TLS, and one user who may do everything."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from tidewire.server.certificate_directory import CertificateDirectory


def tls_listener(
    certificates: CertificateDirectory, port: int, bind: Sequence[str] = (), *, clients_too: bool = False
) -> str:
    """`[[listener]]` for the certificates of a directory; `clients_too`: only clients with a certificate get in."""
    where = certificates.path.resolve()  # a relative path would mean another file wherever the broker is started
    directory = CertificateDirectory(where)
    lines = ["[[listener]]"]
    if bind:
        lines.append(f"bind = [{', '.join(map(text, bind))}]")
    lines += [
        f"port = {port}",
        "",
        "[listener.tls]",
        f"certificate = {text(directory.file('server'))}",
        f"key = {text(directory.key_file('server'))}",
    ]
    if clients_too:
        lines += [
            f"client_ca = {text(directory.file('ca'))}",
            'client_certificate = "required"',
            f"revocation_list = {text(directory.file('crl'))}",
        ]
    return "\n".join(lines) + "\n"


def first_configuration(
    certificates: CertificateDirectory, port: int, bind: Sequence[str], password_file: Path, user: str
) -> str:
    """The whole file."""
    return f"""\
# Tidewire's configuration. Looked over by: tidewire doctor --config FILE

bind = [] # nobody is served without TLS

{tls_listener(certificates, port, bind)}
[access]
password_file = {text(password_file.resolve())}

# {user} may do everything; everybody else nothing, until a rule allows it.
[[access.rules]]
effect = "allow"
topic = "#"
user = {text(user)}

[[access.rules]]
effect = "allow"
action = "subscribe"
topic = "$SYS/#"
user = {text(user)}

# A web page on this machine, once `pip install 'tidewire[console]'` was done and these two lines count:
# [console]
# operators = [{text(user)}]
"""


def text(value: str | Path) -> str:
    """A string of TOML: as in JSON, but for one character."""
    return json.dumps(str(value), ensure_ascii=False).replace("\x7f", "\\u007f")
