"""Who is a client that shows a JSON Web Token (RFC 7519), and what does the token let it do?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import jwt

from tidewire.access.keys import KeyFault, Keys
from tidewire.access.rules import Rule
from tidewire.access.token_rules import rules_of_claims

TOKEN_BYTES: Final = 16 * 1024
"""Longest token that is looked at: one with a thousand topic filters does not fit, and none has so many."""


class InvalidToken(Exception):
    """The token proves nothing; the text says why, for the log."""


@dataclass(frozen=True, slots=True)
class Token:
    """What a token proves."""

    user_name: str
    expires_at: float
    """Seconds since 1970, leeway included: until then it would be taken."""
    rules: list[Rule]


@dataclass(frozen=True, slots=True)
class Tokens:
    """Which tokens are taken, and what their claims mean."""

    keys: Keys
    issuer: str | None = None
    audience: str | None = None
    leeway_s: float = 10.0
    """By so much may the clocks of issuer and broker differ."""
    user_claim: str = "sub"
    publish_claim: str = "publish"
    subscribe_claim: str = "subscribe"
    in_user_name: bool = False
    """It comes as the user name, not as the password."""

    def token_of(self, user_name: str | None, password: bytes | None) -> str | None:
        """What a client shows, if it looks like a token."""
        shown = (user_name or "").encode() if self.in_user_name else password or b""
        if shown.count(b".") == 2 and shown.startswith(b"ey") and len(shown) <= TOKEN_BYTES and shown.isascii():
            return shown.decode()
        return None

    def verify(self, token: str) -> Token:
        """May wait for the key set, so not for the event loop. Raises InvalidToken."""
        try:
            key, algorithms = self.keys.find(token)
            claims = jwt.decode(
                token,
                key,
                algorithms,
                issuer=self.issuer,
                audience=self.audience,
                leeway=self.leeway_s,
                options={"require": ["exp", self.user_claim]},
            )
            user_name = claims[self.user_claim]
            if not isinstance(user_name, str) or not user_name:
                raise InvalidToken(f"claim {self.user_claim} is no name")
            rules = rules_of_claims(
                claims.get(self.publish_claim, []),
                claims.get(self.subscribe_claim, []),
                f"token of {user_name}",
            )
            return Token(user_name, float(claims["exp"]) + self.leeway_s, rules)
        except (KeyFault, jwt.PyJWTError, ValueError, TypeError, OverflowError, RecursionError) as error:
            raise InvalidToken(str(error)) from None
