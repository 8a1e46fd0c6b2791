"""How does a client prove its password without showing it? SCRAM-SHA-256 (RFC 7677) as enhanced authentication."""

from __future__ import annotations

import asyncio
import base64
import binascii
import hmac
import secrets
from typing import Final

from tidewire.access.scram import (
    FEWEST_ITERATIONS,
    METHOD,
    MOST_ITERATIONS,
    NONCE_BYTES,
    ScramFault,
    attributes_of,
    client_proof,
    escape,
    salted_password,
    saslprep,
    server_key_of,
    server_signature,
)
from tidewire.client.options import Authentication

_HEADER: Final = "n,,"
"""No channel binding, and nobody else's rights (RFC 5802, 7: gs2-header)."""


def scram(user_name: str, password: str) -> Authentication:
    """Authentication for a client of MQTT 5.0: `Client(url, authentication=scram("alice", "secret"))`.

    It serves as many connections as the client makes, one after the other. Raises ValueError for a name or a password
    with characters that SASLprep (RFC 4013) forbids.
    """
    saslprep(password)
    return Authentication(METHOD, _Conversation(escape(user_name), password).answer)


class _Conversation:
    """The client's half (RFC 5802, 3 and 5), begun anew by each connection."""

    def __init__(self, escaped_name: str, password: str) -> None:
        self._name = escaped_name
        self._password = password.encode()
        self._first = ""
        self._nonce = ""
        self._awaited = b""
        """What the server has to say to prove itself."""
        self._salted: tuple[tuple[bytes, int], bytes] | None = None
        """Of the last connection (RFC 5802, 5.1 lets a client keep it): the salt tends to stay the same."""

    async def answer(self, data: bytes | None) -> bytes | None:
        """Our next message. Raises ScramFault where the server's is none, or it does not prove itself."""
        if data is None:
            self._nonce = base64.b64encode(secrets.token_bytes(NONCE_BYTES)).decode()
            self._awaited = b""
            self._first = f"n={self._name},r={self._nonce}"
            return f"{_HEADER}{self._first}".encode()
        if data.startswith(b"v="):
            if not self._awaited or not hmac.compare_digest(data, self._awaited):
                raise ScramFault("the server does not know the password: it may be another one than it says")
            return None
        return await self._prove(data)

    async def _prove(self, data: bytes) -> bytes:
        attributes = attributes_of(data, "rsi")
        nonce = attributes["r"]
        if not nonce.startswith(self._nonce) or len(nonce) == len(self._nonce):
            raise ScramFault("the server's answer belongs to another exchange")
        try:
            salt = base64.b64decode(attributes["s"], validate=True)
            iterations = int(attributes["i"])
        except (binascii.Error, ValueError):
            raise ScramFault("the server's salt or number of iterations is none") from None
        if not FEWEST_ITERATIONS <= iterations <= MOST_ITERATIONS:
            raise ScramFault(f"{iterations} iterations are not between {FEWEST_ITERATIONS} and {MOST_ITERATIONS}")
        if self._salted is None or self._salted[0] != (salt, iterations):
            # In a thread: it takes a tenth of a second, and the program's event loop has other things to do.
            salted = await asyncio.to_thread(salted_password, self._password, salt, iterations)
            self._salted = (salt, iterations), salted
        salted = self._salted[1]
        without_proof = f"c={base64.b64encode(_HEADER.encode()).decode()},r={nonce}"
        auth_message = f"{self._first},{data.decode()},{without_proof}".encode()
        signature = server_signature(server_key_of(salted), auth_message)
        self._awaited = b"v=" + base64.b64encode(signature)
        return f"{without_proof},p={base64.b64encode(client_proof(salted, auth_message)).decode()}".encode()
