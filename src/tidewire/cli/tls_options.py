"""How is a connection encrypted? The TLS flags, and the context that they describe."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from typing import Any, Final

import click

from tidewire.cli.command_line import option, unsupported

_HEADING: Final = "TLS"
_NO_ENGINES: Final = "Python reads keys from files only, and OpenSSL itself gives up engines"
_VERSIONS: Final = {
    "tlsv1.1": ssl.TLSVersion.TLSv1_1,
    "tlsv1.2": ssl.TLSVersion.TLSv1_2,
    "tlsv1.3": ssl.TLSVersion.TLSv1_3,
}


@dataclass(kw_only=True)
class TLSOptions:
    """The TLS flags of one command line."""

    cafile: str | None
    capath: str | None
    cert: str | None
    key: str | None
    ciphers: str | None
    insecure: bool
    tls_alpn: str | None
    tls_version: str | None
    tls_use_os_certs: bool
    psk: str | None
    psk_identity: str | None
    tls_keylog: str | None
    no_tls: bool

    @property
    def asks_for_tls(self) -> bool:
        """Whether one of them says that the connection is to be encrypted."""
        return not self.no_tls and bool(self.cafile or self.capath or self.psk or self.tls_use_os_certs)


def tls_fields(options: dict[str, Any]) -> dict[str, Any]:
    """Take the fields of `TLSOptions` out of what click has parsed."""
    return {field.name: options.pop(field.name) for field in fields(TLSOptions)}


def tls_context(options: TLSOptions) -> ssl.SSLContext:
    """Raises click.UsageError for files that cannot be read and for what does not go together."""
    if bool(options.cert) != bool(options.key):
        raise click.UsageError("--cert and --key go together: give both, or neither")
    if options.psk is not None:
        return _psk_context(options)
    try:
        context = ssl.create_default_context(cafile=options.cafile, capath=options.capath)
    except (OSError, ssl.SSLError) as error:
        raise click.UsageError(f"cannot use {options.cafile or options.capath}: {_why(error)}") from None
    if options.tls_use_os_certs:
        context.load_default_certs()
    if options.insecure:
        context.check_hostname = False
    if options.cert and options.key:
        try:
            context.load_cert_chain(options.cert, options.key)
        except (OSError, ssl.SSLError) as error:
            raise click.UsageError(f"cannot use {options.cert} with {options.key}: {_why(error)}") from None
    _narrow(context, options)
    return context


def _narrow(context: ssl.SSLContext, options: TLSOptions) -> None:
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if options.tls_version:
        context.minimum_version = context.maximum_version = _VERSIONS[options.tls_version]
    if options.ciphers:
        try:
            context.set_ciphers(options.ciphers)
        except ssl.SSLError:
            raise click.UsageError(f"--ciphers: OpenSSL knows none of {options.ciphers!r}") from None
    if options.tls_alpn:
        context.set_alpn_protocols([options.tls_alpn])
    if options.tls_keylog:
        try:
            context.keylog_filename = options.tls_keylog
        except OSError as error:
            raise click.UsageError(f"cannot write {options.tls_keylog}: {_why(error)}") from None


def _psk_context(options: TLSOptions) -> ssl.SSLContext:
    if options.cafile or options.capath:
        raise click.UsageError("--psk cannot be used with --cafile or --capath: a shared key needs no certificates")
    if options.psk_identity is None:
        raise click.UsageError("--psk needs --psk-identity")
    try:
        key = bytes.fromhex(options.psk or "")
    except ValueError:
        raise click.UsageError("--psk takes hexadecimal digits") from None
    context: Any = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if not hasattr(context, "set_psk_client_callback"):
        raise click.UsageError("--psk needs Python 3.13 or newer")
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.maximum_version = ssl.TLSVersion.TLSv1_2  # Mosquitto's brokers offer PSK up to there
    context.set_ciphers(options.ciphers or "PSK")
    context.set_psk_client_callback(lambda hint: (options.psk_identity, key))
    if options.tls_alpn:
        context.set_alpn_protocols([options.tls_alpn])
    return context  # type: ignore[no-any-return]


def _why(error: OSError) -> str:
    if isinstance(error, ssl.SSLError):
        return f"not a PEM file, or the two do not belong together ({error.reason or error})"
    return error.strerror or str(error)


TLS_OPTIONS: Final[Sequence[Callable[[Any], Any]]] = (
    option(_HEADING, "--cafile", metavar="FILE", help="Certificates (PEM) of the authorities to trust; turns TLS on."),
    option(_HEADING, "--capath", metavar="DIRECTORY", help="The same, in a directory prepared by `openssl rehash`."),
    option(_HEADING, "--tls-use-os-certs", is_flag=True, help="Trust those of the operating system; turns TLS on."),
    option(_HEADING, "--cert", metavar="FILE", help="Certificate (PEM) of this client."),
    option(_HEADING, "--key", metavar="FILE", help="Its private key (PEM)."),
    option(_HEADING, "--insecure", is_flag=True, help="Do not check that the certificate is for the host. For tests."),
    option(
        _HEADING, "--tls-version", type=click.Choice(list(_VERSIONS)), help="This one only. [default: 1.2 or newer]"
    ),
    option(_HEADING, "--tls-alpn", metavar="NAME", help="Protocol to ask for, where several share a port."),
    option(_HEADING, "--ciphers", metavar="LIST", help="OpenSSL's cipher list, for TLS 1.2 and older."),
    option(_HEADING, "--psk", metavar="HEX", help="Shared key instead of certificates; needs Python 3.13."),
    option(_HEADING, "--psk-identity", metavar="TEXT", help="Whose key it is."),
    option(
        _HEADING, "--tls-keylog", metavar="FILE", help="Write the keys of the connection, for Wireshark. For tests."
    ),
    option(_HEADING, "--no-tls", is_flag=True, help="No TLS, whatever else says so but a mqtts:// or wss:// URL."),
    option(
        _HEADING,
        "--keyform",
        type=click.Choice(["pem", "engine"]),
        expose_value=False,
        callback=lambda context, parameter, value: _only_pem(value),
        metavar="pem",
        help=f"Form of the key; engine is refused: {_NO_ENGINES}.",
    ),
    unsupported(_HEADING, "--tls-engine", metavar="NAME", why=_NO_ENGINES),
    unsupported(_HEADING, "--tls-engine-kpass-sha1", metavar="HEX", why=_NO_ENGINES),
)


def _only_pem(value: str | None) -> None:
    if value == "engine":
        raise click.UsageError(f"--keyform engine is not supported: {_NO_ENGINES}")
