"""What can be said of the web console, `[console]` of the configuration, and what can be wrong with it."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import ip_network
from typing import Annotated

import msgspec

from tidewire.access.web import is_loopback
from tidewire.server.http_config import HttpConfigFault, check_addresses
from tidewire.server.toml_lines import Place


class ConsoleConfig(msgspec.Struct, forbid_unknown_fields=True):
    """`[console]`: the broker's web page. There is none without this table, or `--console`."""

    bind: list[str] = msgspec.field(default_factory=lambda: ["127.0.0.1"])
    """Addresses to listen on; those of other machines only with a certificate, and where users can log in."""
    port: Annotated[int, msgspec.Meta(ge=0, le=65_535)] = 9884
    """TCP port; 0: any free one."""
    certificate: str | None = None
    """PEM file with the certificate for HTTPS."""
    key: str | None = None
    """The key of that certificate."""
    operators: list[str] = []
    """Users who may see every client and its packets, end connections, clear sessions and delete messages. Other users
    see and publish what the access rules let them. A broker without users has no log-in: then everybody who reaches
    the page may do everything."""
    hosts: list[str] = []
    """Names by which browsers know the page, beside its addresses and localhost: behind a proxy, say."""
    trusted_proxies: list[str] = []
    """Addresses and networks of proxies whose `X-Forwarded-For` and `X-Forwarded-Proto` say who the visitor is and
    whether they came by HTTPS. Nobody else is believed."""


def console_faults(config: ConsoleConfig | None, has_users: bool) -> Iterator[tuple[Place, str]]:
    """What keeps it from being served, and where it stands."""
    if config is None:
        return
    try:
        check_addresses(config, "what users type and see")
    except HttpConfigFault as fault:
        yield ("console", *fault.key), str(fault)
    for proxy in config.trusted_proxies:
        try:
            ip_network(proxy)
        except ValueError as error:
            mend = 'give addresses or networks: trusted_proxies = ["127.0.0.1", "10.0.0.0/8"]'
            yield ("console", "trusted_proxies"), f"{error}; {mend}"
    exposed = [address for address in config.bind if not is_loopback(address)]
    if exposed and not has_users:
        mend = 'name who may log in: password_file = "FILE" in [access], or bind = ["127.0.0.1"]'
        yield ("console", "bind"), f"everybody who reaches {exposed[0]} could administer the broker; {mend}"
