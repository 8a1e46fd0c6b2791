"""Is what is written as TOML read as the same again?"""

from __future__ import annotations

import tomllib
from itertools import pairwise
from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from tidewire.engine.limits import Limits
from tidewire.server.access_config import AccessConfig, HttpConfig, RuleConfig
from tidewire.server.config import Config, read_config, vars_of
from tidewire.server.config_text import document_text, effective_text
from tidewire.server.listener_config import ListenerConfig, NamedCertificate, TlsConfig

TEXTS = st.text(st.characters(codec="utf-8"), max_size=8)
SCALARS = TEXTS | st.integers(-(2**63), 2**63 - 1) | st.booleans() | st.floats(allow_nan=False)
VALUES = st.recursive(
    SCALARS | st.lists(SCALARS, max_size=3),
    lambda inner: (
        st.dictionaries(TEXTS, inner, max_size=3)
        | st.lists(st.dictionaries(TEXTS, inner, max_size=2), min_size=1, max_size=3)
    ),
    max_leaves=8,
)


@given(st.dictionaries(TEXTS, VALUES, max_size=4))
def test_a_document_is_read_as_it_was_written(values: dict[str, Any]) -> None:
    assert tomllib.loads(document_text(values)) == values


def test_what_is_in_force_is_read_as_the_same(tmp_path: Path) -> None:
    tls = TlsConfig("a.pem", "a.key", names=[NamedCertificate("b", "b.pem", "b.key")])
    config = Config(
        listeners=[ListenerConfig(port=1, tls=tls), ListenerConfig(port=2, protocol="websocket")],
        access=AccessConfig(rules=[RuleConfig("allow", 'a"\\#'), RuleConfig("deny", "b", user="é")], anonymous=True),
        limits={"queue_messages": 5},
    )
    file = tmp_path / "shown.toml"
    file.write_text(effective_text(config), encoding="utf-8")
    config.limits = vars_of(Limits()) | config.limits
    assert read_config(file) == config


def test_defaults_are_filled_in_with_their_reasons() -> None:
    shown = effective_text(Config())
    assert "# TCP port; 0: any free one.\nport = 1883\n" in shown
    assert "# QoS 1 and 2 messages that wait for one session.\nqueue_messages = 10000\n" in shown
    assert "anonymous = true\n" in shown
    assert shown.index("queue_messages") < shown.index("queue_bytes")  # "The same in bytes"


def test_every_limit_and_every_key_of_the_top_is_shown_with_a_reason() -> None:
    lines = effective_text(Config()).splitlines()
    bare = [after for before, after in pairwise(lines) if "=" in after and before[:1] != "#"]
    assert bare == []


def test_what_proves_who_we_are_is_not_shown() -> None:
    http = HttpConfig("https://localhost/", headers={"Authorization": "Bearer secret"})
    shown = effective_text(Config(access=AccessConfig(http=http)))
    assert 'headers = { Authorization = "(hidden)" }' in shown
    assert "secret" not in shown
    assert http.headers == {"Authorization": "Bearer secret"}
