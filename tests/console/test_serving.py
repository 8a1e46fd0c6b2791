"""Is the page there when it is asked for, and is what keeps it away told in one line?"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.process import BrokerProcess, tidewire

pytest.importorskip("nicegui", reason="the extra console is not installed")


def test_its_address_is_the_last_line_that_a_starting_broker_prints() -> None:
    with BrokerProcess("--memory", "--console-port", "0") as broker:
        url = broker.wait_for(r"console: (http://127\.0\.0\.1:\d+)$").group(1)
        assert broker.lines[-1].endswith(f"console: {url}\n")
        assert broker.stop() == 0
        assert "Traceback" not in broker.log


def test_the_option_wins_over_the_file(tmp_path: Path) -> None:
    config = tmp_path / "broker.toml"
    config.write_text('port = 0\ndurability = "memory"\n[console]\nport = 0\n', encoding="utf-8")
    with BrokerProcess("--config", config) as broker:
        broker.wait_for("console: http")
    with BrokerProcess("--config", config, "--no-console") as broker:
        assert broker.stop() == 0
        assert "console" not in broker.log


def test_a_port_that_is_taken_ends_with_one_line() -> None:
    with BrokerProcess("--memory", "--console-port", "0") as broker:
        port = broker.wait_for(r"console: http://127\.0\.0\.1:(\d+)").group(1)
        ended = tidewire("serve", "--memory", "--port", "0", "--console-port", port)
    assert ended.returncode == 2
    assert ended.stderr.splitlines()[-1] == (
        f"tidewire: console.port: cannot listen on 127.0.0.1 port {port}: Address already in use; choose another"
    )
    assert "Traceback" not in ended.stderr


def test_the_options_that_contradict_each_other_are_told() -> None:
    ended = tidewire("serve", "--no-console", "--console-port", "1")
    assert (ended.returncode, ended.stderr) == (
        2,
        "tidewire: --no-console wants no page, and --console-port says where it is; give one of them\n",
    )


def test_what_is_not_installed_is_named_with_its_mend(tmp_path: Path) -> None:
    (tmp_path / "nicegui.py").write_text("raise ImportError(name='nicegui')\n", encoding="utf-8")
    ended = tidewire("serve", "--memory", "--port", "0", "--console", PYTHONPATH=str(tmp_path))
    assert ended.returncode == 2
    assert ended.stderr.splitlines()[-1] == (
        "tidewire: the console needs nicegui, which is not installed: pip install 'tidewire[console]'"
    )


@pytest.mark.parametrize(
    ("table", "told"),
    [
        ('bind = ["0.0.0.0"]', "would travel to 0.0.0.0 in the clear; add certificate"),
        (
            'bind = ["0.0.0.0"]\ncertificate = "a"\nkey = "b"',
            "everybody who reaches 0.0.0.0 could administer the broker",
        ),
        ("bind = []", "there is no address to listen on"),
        ('certificate = "a"', 'add key = "FILE.pem"'),
        ('trusted_proxies = ["*"]', 'give addresses or networks: trusted_proxies = ["127.0.0.1", "10.0.0.0/8"]'),
    ],
)
def test_a_configuration_that_would_expose_it_is_refused_and_checked_before(
    tmp_path: Path, table: str, told: str
) -> None:
    config = tmp_path / "broker.toml"
    config.write_text(f'port = 0\ndurability = "memory"\n[console]\n{table}\n', encoding="utf-8")
    for command in (("serve", "--config"), ("config", "check")):
        ended = tidewire(*command, config)
        assert ended.returncode != 0
        assert told in ended.stderr + ended.stdout
        assert "Traceback" not in ended.stderr
