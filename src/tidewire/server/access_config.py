"""What can the configuration say about access, `[access]` and below, and what comes of it?"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final, Literal, TypeVar

import msgspec

from tidewire.access.acl_file import read_acl_file
from tidewire.access.call_out import CallOut
from tidewire.access.control import Policy
from tidewire.access.passwords import read_passwords
from tidewire.access.rules import Action, Effect, Rule, RuleSet
from tidewire.access.web import is_private
from tidewire.wire.errors import InvalidTopic
from tidewire.wire.topics import SHARE_PREFIX, check_topic_filter

if TYPE_CHECKING:
    from tidewire.access.tokens import Tokens

T = TypeVar("T")

_ACTIONS: Final[dict[str, Action]] = {
    "publish": "publish",
    "write": "publish",
    "subscribe": "subscribe",
    "read": "subscribe",
    "all": "all",
}


class AccessFault(ValueError):
    """What the configuration says about access cannot be used; the text says what is wrong and how to mend it."""


class RuleConfig(msgspec.Struct, forbid_unknown_fields=True):
    """`[[access.rules]]`: who may, or may not, do what."""

    effect: Effect
    topic: str
    """A topic filter; `%c` and `%u` in it stand for the client identifier and the user name."""
    action: Literal["publish", "subscribe", "all", "write", "read"] = "all"
    """"write" is another word for "publish", "read" for "subscribe": what may not be read is not delivered either."""
    user: str | None = None
    """The user whom it concerns; not said: everybody."""
    anonymous: bool = False
    """Whether it concerns only clients without a user name."""


class JwtConfig(msgspec.Struct, forbid_unknown_fields=True):
    """`[access.jwt]`: clients that show a JSON Web Token. One of the three keys must be given."""

    secret_file: str | None = None
    """A file with the secret of HS256, HS384 and HS512: 32 bytes or more."""
    public_key_file: str | None = None
    """A PEM file with the public key of RS, PS, ES or EdDSA."""
    key_set: str | None = None
    """File or URL of a JSON Web Key Set: public keys, found by the token's `kid`, fetched again every five minutes."""
    issuer: str | None = None
    """What `iss` must be."""
    audience: str | None = None
    """What `aud` must hold; a token that has an audience is refused where this is not said."""
    leeway_s: Annotated[float, msgspec.Meta(ge=0, le=3600)] = 10.0
    """By how much the clocks of issuer and broker may differ."""
    user_claim: str = "sub"
    """The claim with the user name."""
    publish_claim: str = "publish"
    """The claim with the topic filters that the client may publish to."""
    subscribe_claim: str = "subscribe"
    """The claim with the topic filters that it may subscribe to."""
    source: Literal["password", "user_name"] = msgspec.field(default="password", name="from")
    """Where in CONNECT the token is. The user name is not looked at where the token is the password."""


class HttpConfig(msgspec.Struct, forbid_unknown_fields=True):
    """`[access.http]`: a web service that is asked. No answer is a no."""

    url: str
    authenticate: bool = True
    """Whether it is asked who a client is."""
    authorize: bool = True
    """Whether it is asked what a client may do, where no rule says so."""
    timeout_s: Annotated[float, msgspec.Meta(gt=0, le=60)] = 5.0
    cache_s: Annotated[float, msgspec.Meta(ge=1, le=86_400)] = 60.0
    """How long an answer holds."""
    headers: dict[str, str] = {}
    """Sent along: `{ Authorization = "Bearer …" }`."""
    ca_file: str | None = None
    """Certificates of the authorities that the service's certificate may come from; not said: the system's."""
    allow_plain: bool = False
    """Whether passwords may travel to it without TLS."""


class AccessConfig(msgspec.Struct, forbid_unknown_fields=True):
    """`[access]`: who may connect, and who may do what."""

    anonymous: bool | None = None
    """Whether clients without a user name may connect; when it is not said: only while no name can be proven."""
    password_file: str | None = None
    """User names and passwords, made by `tidewire passwd` or `mosquitto_passwd`."""
    acl_file: str | None = None
    """An access list of Mosquitto; its rules and those here are in force together."""
    disclose: bool = True
    """Whether a refused client is told "not authorized" (0x87), rather than "unspecified error" (0x80)."""
    attempts: Annotated[int, msgspec.Meta(ge=0, le=1_000_000)] = 10
    """Wrong passwords that an address may send before it must wait, longer each time; 0: as many as it likes."""
    rules: list[RuleConfig] = []
    jwt: JwtConfig | None = None
    http: HttpConfig | None = None

    def proves_names(self) -> bool:
        """Whether there is anything to tell a client by."""
        return (
            self.password_file is not None or self.jwt is not None or (self.http is not None and self.http.authenticate)
        )


def make_policy(config: AccessConfig) -> Policy:
    """What is in force. Raises AccessFault."""
    listed = _read(config.acl_file, "access list", read_acl_file) if config.acl_file is not None else []
    written = [_rule(number, rule) for number, rule in enumerate(config.rules, 1)]
    rules = RuleSet([*written, *listed])
    call_out = _call_out(config.http) if config.http is not None else None
    tokens = _tokens(config.jwt) if config.jwt is not None else None
    sources = (config.acl_file, tokens, call_out)
    if written and not any(sources) and not any(rule.effect == "allow" for rule in written):
        raise AccessFault('access.rules allow nothing; add at least one rule with effect = "allow"')
    policy = Policy(
        rules=rules,
        restricted=bool(written or any(sources)),
        anonymous=config.anonymous if config.anonymous is not None else not config.proves_names(),
        disclose=config.disclose,
        passwords=_read(config.password_file, "password file", read_passwords) if config.password_file else None,
        tokens=tokens,
        call_out=call_out,
        attempts=config.attempts,
    )
    policy.in_force = _in_force(config, policy, len(written), len(listed))
    return policy


def _in_force(config: AccessConfig, policy: Policy, written: int, listed: int) -> list[str]:
    who = [f"{len(policy.passwords)} users of {config.password_file}"] if policy.passwords is not None else []
    who += [f"tokens signed by {_key_of(config.jwt)}"] if config.jwt is not None else []
    who += [f"whom {config.http.url} knows"] if config.http is not None and config.http.authenticate else []
    who += ["anonymous clients"] if policy.anonymous else []
    what = [f"{written} rules of the configuration"] if written else []
    what += [f"{listed} rules of {config.acl_file}"] if config.acl_file is not None else []
    if config.jwt is not None:
        what.append(f"claims {config.jwt.publish_claim} and {config.jwt.subscribe_claim} of tokens")
    what += [f"{config.http.url} where no rule decides"] if config.http is not None and config.http.authorize else []
    return [
        f"who may connect: {', '.join(who) or 'clients with a certificate'}",
        f"who may do what: {', '.join(what)}; what none of them allows is denied"
        if policy.restricted
        else "who may do what: there are no rules, so every client may publish and subscribe to everything",
    ]


def _rule(number: int, rule: RuleConfig) -> Rule:
    topic_filter = rule.topic.encode()
    try:
        check_topic_filter(topic_filter)
        if topic_filter.startswith(SHARE_PREFIX):
            raise InvalidTopic(
                f"{rule.topic!r}: write the filter without $share/NAME/, which every rule is held against"
            )
    except InvalidTopic as error:
        raise AccessFault(f"access.rules, rule {number}: {error}") from None
    if rule.anonymous and rule.user is not None:
        raise AccessFault(f"access.rules, rule {number}: it is for {rule.user} or for anonymous clients, not for both")
    return Rule(
        rule.effect,
        _ACTIONS[rule.action],
        topic_filter,
        rule.user,
        rule.anonymous,
        origin=f"access.rules, rule {number}",
    )


def _tokens(config: JwtConfig) -> Tokens:
    # They load a library for cryptography, which brokers without tokens need not wait for.
    from tidewire.access.keys import Keys, KeySet, read_public_key, read_secret  # noqa: PLC0415
    from tidewire.access.tokens import Tokens  # noqa: PLC0415

    named = [name for name in ("secret_file", "public_key_file", "key_set") if getattr(config, name) is not None]
    if len(named) != 1:
        raise AccessFault("access.jwt needs one of secret_file, public_key_file and key_set")
    keys: Keys
    if config.secret_file is not None:
        keys = _read(config.secret_file, "secret", read_secret)
    elif config.public_key_file is not None:
        keys = _read(config.public_key_file, "public key", read_public_key)
    else:
        assert config.key_set is not None
        if "://" in config.key_set and not is_private(config.key_set):
            raise AccessFault(f"access.jwt.key_set: {config.key_set} could be changed on its way; use https://")
        if "://" not in config.key_set:
            _read(config.key_set, "key set", Path.read_bytes)
        keys = KeySet(config.key_set)
    return Tokens(
        keys,
        config.issuer,
        config.audience,
        config.leeway_s,
        config.user_claim,
        config.publish_claim,
        config.subscribe_claim,
        config.source == "user_name",
    )


def _call_out(config: HttpConfig) -> CallOut:
    if not config.url.startswith(("http://", "https://")):
        raise AccessFault(f"access.http.url: {config.url!r} does not begin with https:// or http://")
    if not config.allow_plain and not is_private(config.url):
        raise AccessFault(
            f"access.http.url: passwords would travel to {config.url} for everybody to read; use https://, "
            "or say allow_plain = true"
        )
    try:
        return CallOut(
            config.url,
            config.authenticate,
            config.authorize,
            config.timeout_s,
            config.cache_s,
            config.headers,
            config.ca_file,
        )
    except OSError as error:
        raise AccessFault(f"cannot read access.http.ca_file {config.ca_file}: {error.strerror or error}") from None


def _read(path: str, what: str, read: Callable[[Path], T]) -> T:
    try:
        return read(Path(path))
    except OSError as error:
        raise AccessFault(f"cannot read the {what} {path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise AccessFault(f"the {what} {path} is not UTF-8 text") from None
    except ValueError as error:  # its own text names file and line
        raise AccessFault(str(error)) from None


def _key_of(config: JwtConfig) -> str:
    return config.key_set or config.public_key_file or config.secret_file or ""
