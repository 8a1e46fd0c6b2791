"""Is a `[telemetry]` that cannot be used told in one line?"""

from __future__ import annotations

import pytest

from tidewire.server.config import ConfigError, check_config, convert
from tidewire.server.config_document import Document
from tidewire.server.telemetry_config import TelemetryConfig, telemetry_faults


@pytest.mark.parametrize("endpoint", ["http://127.0.0.1:4318/v1/traces", "https://collector.example", "http://[::1]:1"])
def test_a_url_of_a_collector_is_accepted(endpoint: str) -> None:
    assert list(telemetry_faults(TelemetryConfig(endpoint))) == []
    assert list(telemetry_faults(None)) == []


@pytest.mark.parametrize(
    "endpoint", ["", "localhost:4318", "grpc://localhost:4317", "http://", "http://a:x", "http://a:0"]
)
def test_what_is_no_url_of_a_collector_is_named_with_the_mend(endpoint: str) -> None:
    [fault] = check_config(Document({"telemetry": {"endpoint": endpoint}}))
    assert "telemetry.endpoint" in fault
    assert f"{endpoint!r} is no URL of a collector; write 'http://127.0.0.1:4318/v1/traces'" in fault


@pytest.mark.parametrize(
    ("key", "value"), [("sample_ratio", 1.5), ("sample_ratio", -0.1), ("messages", "yes"), ("headers", 1)]
)
def test_what_a_key_cannot_be_is_refused(key: str, value: object) -> None:
    with pytest.raises(ConfigError, match=f"telemetry.{key}"):
        convert(Document({"telemetry": {"endpoint": "http://localhost", key: value}}))
