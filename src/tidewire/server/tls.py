"""What a listener shows and asks for in a TLS handshake, taken from its files and taken again when they change."""

from __future__ import annotations

import asyncio
import hashlib
import os
import ssl
from collections.abc import Callable
from typing import Any, Final

from tidewire.engine.ports import Certificate
from tidewire.server.config import ConfigError
from tidewire.server.listener_config import TlsConfig
from tidewire.server.log import logger, quoted

CIPHERS: Final = "ECDHE+AESGCM:ECDHE+CHACHA20:DHE+AESGCM:DHE+CHACHA20"
"""Of TLS 1.2: forward secrecy and authenticated encryption; every library of the last ten years has one of them."""

PSK_CIPHERS: Final = "ECDHE-PSK-CHACHA20-POLY1305:DHE-PSK-AES128-GCM-SHA256:PSK-AES128-GCM-SHA256"
"""Those with a pre-shared key; the last has no forward secrecy, and is all that the smallest devices have."""

APPLICATION_PROTOCOLS: Final = {"mqtt": ["mqtt"], "websocket": ["http/1.1"]}
"""What ALPN (RFC 7301) is answered with; a client that asks for something else is not refused."""

WATCH_S: Final = 1.0
"""How often the files are looked at. A change is acted upon when two looks in a row saw the same: a certificate and its
key are seldom written in one moment."""


class Tls:
    """The context of one listener: the newest that its files gave."""

    def __init__(self, config: TlsConfig, protocol: str, where: str) -> None:
        """`where` says in the log whose it is. Raises ConfigError for files that cannot be used."""
        self.context = make_context(config, protocol)
        self._config = config
        self._protocol = protocol
        self._where = where
        self._loaded = self._seen = self._look()
        self._next_look = 0.0
        self._loading: asyncio.Task[None] | None = None

    def watch(self, now: float) -> None:
        """Look at the files when it is time, and load them in a thread when they have changed."""
        if now < self._next_look or self._loading is not None:
            return
        self._next_look = now + WATCH_S
        seen, self._seen = self._seen, self._look()
        if self._seen != self._loaded and self._seen == seen:
            self._loading = asyncio.create_task(self.reload())

    async def reload(self) -> None:
        """Take the files as they are now, or say in the log why they cannot be used and keep what there is."""
        self._loaded = self._seen = self._look()
        try:
            self.context = await asyncio.to_thread(make_context, self._config, self._protocol)
            logger.info("certificates reloaded listener=%s", quoted(self._where))
        except ConfigError as error:
            logger.error("certificates kept listener=%s detail=%s", quoted(self._where), quoted(str(error)))
        finally:
            self._loading = None

    def certificate(self, handshake: ssl.SSLObject | None) -> Certificate | None:
        """What the client's certificate says, if it showed one; it has been verified."""
        der = handshake.getpeercert(True) if handshake is not None else None
        if handshake is None or der is None:
            return None
        return read_certificate(handshake.getpeercert() or {}, der, self._config.identity)

    def _look(self) -> list[tuple[int, int, int]]:
        return [_signature(path) for path in files(self._config)]


def make_context(config: TlsConfig, protocol: str) -> ssl.SSLContext:
    """A server's context. Raises ConfigError, with the file and what is wrong with it."""
    context = _with_certificate(config, config.certificate, config.key, protocol)
    if config.names:
        others = {
            named.name.lower(): _with_certificate(config, named.certificate, named.key, protocol)
            for named in config.names
        }
        context.sni_callback = _choose(others)
    return context


def read_certificate(told: dict[str, Any], der: bytes, identity: str) -> Certificate:
    """The certificate of a peer from what `ssl` makes of it, and its bytes."""
    names = [value for part in told.get("subject", ()) for key, value in part if key == "commonName"]
    alternatives = tuple(str(value) for _, value in told.get("subjectAltName", ()))
    common_name = names[-1] if names else ""
    known_by = {"common_name": common_name, "subject_alternative_name": next(iter(alternatives), "")}
    return Certificate(common_name, alternatives, hashlib.sha256(der).hexdigest(), known_by.get(identity, ""))


def files(config: TlsConfig) -> list[str]:
    """All that a context is made from."""
    named = [path for each in config.names for path in (each.certificate, each.key)]
    others = [config.client_ca, config.revocation_list, config.pre_shared_keys]
    return [config.certificate, config.key, *named, *(path for path in others if path is not None)]


def read_pre_shared_keys(path: str) -> dict[str, bytes]:
    """The keys by identity. Raises ConfigError."""
    keys: dict[str, bytes] = {}
    for number, line in enumerate(_text(path, "pre_shared_keys").splitlines(), 1):
        if not line.strip() or line.startswith("#"):
            continue
        identity, _, key = line.strip().rpartition(":")
        try:
            keys[identity] = bytes.fromhex(key)
        except ValueError:
            keys[identity] = b""
        if not identity or not keys[identity]:
            raise ConfigError(f"{path}, line {number}: write identity:key, the key in hexadecimal")
    return keys


def _with_certificate(config: TlsConfig, certificate: str, key: str, protocol: str) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_3 if config.minimum_version == "1.3" else ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_RENEGOTIATION  # lets a client make the server work, and is needed by none
    context.set_alpn_protocols(APPLICATION_PROTOCOLS[protocol])
    try:
        context.set_ciphers(config.ciphers or CIPHERS)
    except ssl.SSLError:
        raise ConfigError(f"listener.tls.ciphers: OpenSSL knows no cipher in {config.ciphers!r}") from None
    _check_readable(certificate, "certificate")
    _check_readable(key, "key")
    try:
        context.load_cert_chain(certificate, key, password=_no_password)
    except ssl.SSLError as error:
        if "mismatch" in str(error).lower():
            raise ConfigError(f"listener.tls: the key {key} does not belong to the certificate {certificate}") from None
        raise ConfigError(
            f"listener.tls: {certificate} and {key} hold no certificate and key in PEM: {_reason(error)}"
        ) from None
    except _Encrypted:
        raise ConfigError(f"listener.tls: the key {key} has a password, and nobody is there to type it") from None
    _verify_clients(context, config)
    if config.pre_shared_keys is not None:
        _add_pre_shared_keys(context, config, config.pre_shared_keys)
    return context


def _verify_clients(context: ssl.SSLContext, config: TlsConfig) -> None:
    """Client certificates: asked for, and held against authorities and revocation list."""
    if config.client_certificate == "no":
        if config.identity != "none":
            raise ConfigError('listener.tls.identity needs client_certificate = "optional" or "required"')
        return
    if config.client_ca is None:
        raise ConfigError(
            f'listener.tls.client_certificate = "{config.client_certificate}" needs client_ca, the authority that '
            "signs them"
        )
    context.verify_mode = ssl.CERT_REQUIRED if config.client_certificate == "required" else ssl.CERT_OPTIONAL
    for key, path in (("client_ca", config.client_ca), ("revocation_list", config.revocation_list)):
        if path is not None:
            _check_readable(path, key)
            try:
                context.load_verify_locations(path)
            except ssl.SSLError as error:
                raise ConfigError(f"listener.tls.{key}: {path} cannot be used: {_reason(error)}") from None
    if config.revocation_list is not None:
        if not context.cert_store_stats()["crl"]:
            raise ConfigError(f"listener.tls.revocation_list: {config.revocation_list} holds no revocation list in PEM")
        context.verify_flags |= ssl.VerifyFlags.VERIFY_CRL_CHECK_LEAF


def _add_pre_shared_keys(context: ssl.SSLContext, config: TlsConfig, path: str) -> None:
    set_callback = getattr(context, "set_psk_server_callback", None)
    if set_callback is None:
        raise ConfigError("listener.tls.pre_shared_keys needs Python 3.13 or newer; leave it out, or use certificates")
    if config.minimum_version == "1.3":
        raise ConfigError('listener.tls.pre_shared_keys needs minimum_version = "1.2"')
    keys = read_pre_shared_keys(path)
    context.set_ciphers(f"{config.ciphers or CIPHERS}:{PSK_CIPHERS}")
    set_callback(lambda identity: keys.get(identity or "", b""))


def _choose(others: dict[str, ssl.SSLContext]) -> Callable[[ssl.SSLObject, str | None, ssl.SSLContext], None]:
    """The certificate of the name that the client asks for; the first one where it asks for none of these."""

    def choose(handshake: ssl.SSLObject, name: str | None, _: ssl.SSLContext) -> None:
        context = others.get(name.lower()) if name is not None else None
        if context is not None:
            handshake.context = context

    return choose


def _check_readable(path: str, key: str) -> None:
    _text(path, key)


def _text(path: str, key: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read()
    except OSError as error:
        raise ConfigError(f"listener.tls.{key}: cannot read {path}: {error.strerror}") from None


def _signature(path: str) -> tuple[int, int, int]:
    """What changes when a file does, also when another is put in its place."""
    try:
        found = os.stat(path)
    except OSError:
        return 0, 0, 0
    return found.st_ino, found.st_size, found.st_mtime_ns


def _reason(error: ssl.SSLError) -> str:
    return (error.reason or str(error)).replace("_", " ").lower()


class _Encrypted(Exception):
    """A key asks for its password."""


def _no_password() -> bytes:
    raise _Encrypted
