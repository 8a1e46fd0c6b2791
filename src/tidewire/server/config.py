"""The configuration file: one typed TOML document, and what can be wrong with it in one line."""

from __future__ import annotations

import difflib
import ipaddress
import tomllib
from pathlib import Path
from typing import Annotated, Final, Literal

import msgspec

from tidewire.access.passwords import PasswordFileError, read_passwords
from tidewire.access.rules import Action, Effect, Rule, RuleAccess
from tidewire.engine.limits import Limits
from tidewire.wire.errors import InvalidTopic
from tidewire.wire.topics import check_topic_filter

LogLevel = Literal["debug", "info", "warning", "error"]

LARGEST_LIMIT: Final = 2**53
"""No limit is larger: past it a number is not exact in every type that it passes through."""


class ConfigError(ValueError):
    """The configuration cannot be used; the text says what is wrong and how to mend it."""


class RuleConfig(msgspec.Struct, forbid_unknown_fields=True):
    """`[[access.rules]]`"""

    effect: Effect
    topic: str
    action: Action = "all"
    user: str | None = None


class AccessConfig(msgspec.Struct, forbid_unknown_fields=True):
    """`[access]`"""

    anonymous: bool | None = None
    """Whether clients without a user name may connect; when it is not said: only while there is no password file."""
    password_file: str | None = None
    disclose: bool = True
    """Whether a refused client is told "not authorized" (0x87), rather than "unspecified error" (0x80)."""
    rules: list[RuleConfig] = []


class Config(msgspec.Struct, forbid_unknown_fields=True):
    """The whole file. What is not said has these defaults."""

    bind: list[str] = msgspec.field(default_factory=lambda: ["127.0.0.1", "::1"])
    """Addresses to listen on."""
    port: Annotated[int, msgspec.Meta(ge=0, le=65_535)] = 1883
    """TCP port; 0: any free one."""
    unix_socket: str | None = None
    """Path of a Unix socket to listen on as well."""
    backlog: Annotated[int, msgspec.Meta(ge=1, le=65_535)] = 1024
    """Connections that the kernel keeps until they are accepted."""
    accept_rate: Annotated[int, msgspec.Meta(ge=1)] = 10_000
    """Connections a second that are let in; more wait, so that a storm of them does not starve the others."""
    connections: Annotated[int, msgspec.Meta(ge=0)] = 0
    """Connections at a time; 0: as many as open files allow."""
    log_level: LogLevel = "info"
    access: AccessConfig = msgspec.field(default_factory=AccessConfig)
    limits: dict[str, int | float] = {}
    """Bounds of `tidewire.engine.limits`, by their names there."""


def read_config(path: Path) -> Config:
    """Read a configuration file. Raises ConfigError."""
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ConfigError(f"{path} is not UTF-8 text") from None
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path}: {error}") from None
    try:
        return msgspec.convert(document, Config)
    except msgspec.ValidationError as error:
        raise ConfigError(f"{path}: {_plainly(str(error))}") from None


def make_limits(config: Config) -> Limits:
    """The engine's limits with those of the file. Raises ConfigError."""
    limits = Limits()
    known = {name: value for name, value in vars_of(limits).items()}
    for name, value in config.limits.items():
        if name not in known:
            raise ConfigError(f"limits.{name} does not exist{_suggest(name, list(known))}")
        if not 0 <= value <= LARGEST_LIMIT:
            raise ConfigError(f"limits.{name} must lie between 0 and {LARGEST_LIMIT}, not be {value}")
        default = known[name]
        setattr(limits, name, float(value) if isinstance(default, float) else int(value))
    for name, least, most in (
        ("receive_maximum", 1, 65_535),
        ("inflight_maximum", 1, 65_534),
        ("topic_alias_maximum", 0, 65_535),
        ("keep_alive_maximum_s", 0, 65_535),
        ("maximum_packet_size", 256, 268_435_460),
        ("session_expiry_maximum_s", 0, 0xFFFF_FFFF),
        ("retained_burst", 1, LARGEST_LIMIT),
    ):
        if not least <= getattr(limits, name) <= most:
            raise ConfigError(f"limits.{name} must lie between {least} and {most}")
    return limits


def vars_of(limits: Limits) -> dict[str, int | float]:
    """The names and values of all limits, compiled or not."""
    return {
        name: value
        for name in dir(limits)
        if not name.startswith("_") and isinstance(value := getattr(limits, name), int | float)
    }


def make_access(config: Config) -> RuleAccess:
    """Users and rules of the file. Raises ConfigError."""
    access = config.access
    passwords = None
    if access.password_file is not None:
        try:
            passwords = read_passwords(Path(access.password_file))
        except OSError as error:
            raise ConfigError(f"cannot read the password file {access.password_file}: {error.strerror}") from None
        except (PasswordFileError, UnicodeDecodeError) as error:
            raise ConfigError(str(error)) from None
    anonymous = access.anonymous if access.anonymous is not None else passwords is None
    rules: list[Rule] = []
    for number, rule in enumerate(access.rules, 1):
        topic_filter = rule.topic.encode()
        try:
            check_topic_filter(topic_filter)
        except InvalidTopic as error:
            raise ConfigError(f"access.rules, rule {number}: {error}") from None
        rules.append(Rule(rule.effect, rule.action, topic_filter, rule.user))
    if not any(rule.effect == "allow" for rule in rules) and rules:
        raise ConfigError('access.rules allow nothing; add at least one rule with effect = "allow"')
    return RuleAccess(rules, passwords, anonymous, access.disclose)


def check_exposure(config: Config) -> None:
    """Refuse to serve strangers on other machines unless the file says so. Raises ConfigError."""
    access = config.access
    wide = [address for address in config.bind if not _is_loopback(address)]
    if wide and access.password_file is None and access.anonymous is not True:
        raise ConfigError(
            f"refusing to listen on {wide[0]} where anybody could connect: no credentials are configured. "
            f"Make some: tidewire passwd passwords.txt NAME && "
            f"tidewire serve --bind {wide[0]} --password-file passwords.txt"
        )


def _is_loopback(address: str) -> bool:
    if address == "localhost":
        return True
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return False


def _plainly(message: str) -> str:
    """msgspec's message, and a suggestion for a mistyped key."""
    if "contains unknown field" in message:
        name = message.split("`")[1]
        known = [*Config.__struct_fields__, *AccessConfig.__struct_fields__, *RuleConfig.__struct_fields__]
        return message + _suggest(name, known)
    return message


def _suggest(name: str, known: list[str]) -> str:
    near = difflib.get_close_matches(name, known, 1)
    return f"; did you mean {near[0]}?" if near else ""
