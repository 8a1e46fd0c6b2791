"""Does the JSON Schema say what the configuration takes, and is the one in the docs the newest?"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tidewire.engine.limits import Limits
from tidewire.server.config import LIMIT_BOUNDS, vars_of
from tidewire.server.config_reference import limit_names, reason, schema, tables

ROOT = Path(__file__).parent.parent.parent


def test_the_schema_in_the_docs_is_current() -> None:
    run = subprocess.run(
        [sys.executable, str(ROOT / "tools" / "config_schema.py"), "--check"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (run.returncode, run.stderr) == (0, "")


def test_every_limit_is_in_the_schema_with_its_reason_and_its_bounds() -> None:
    properties = schema()["$defs"]["Config"]["properties"]["limits"]["properties"]
    assert set(properties) == set(vars_of(Limits())) == set(limit_names())
    assert [name for name, limit in properties.items() if not limit["description"]] == []
    bounds = properties["receive_maximum"]["minimum"], properties["receive_maximum"]["maximum"]
    assert bounds == LIMIT_BOUNDS["receive_maximum"]


def test_no_key_of_the_schema_may_be_null() -> None:
    assert "null" not in str(schema())


def test_every_table_refuses_what_it_does_not_know() -> None:
    names = {table.__name__ for table in tables()}
    assert {"Config", "AccessConfig", "ListenerConfig", "TlsConfig", "NamedCertificate"} <= names
    definitions = schema()["$defs"]
    assert set(definitions) == names
    assert all(definition["additionalProperties"] is False for definition in definitions.values())


def test_a_reason_is_one_line() -> None:
    assert reason("Limits", "publish_messages_per_s").count("\n") == 0
    assert reason("Config", "bind") == "Addresses to listen on."
    assert reason("Config", "nothing") == ""
