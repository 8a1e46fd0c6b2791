"""Does docs/interop.md speak of the clients that there are, and does each folder pin what the page says?"""

from __future__ import annotations

import re

import pytest

from tests.interop.matrix import document
from tests.interop.matrix.cases import CASES
from tests.interop.matrix.clients import CLIENTS, FOLDERS, TRANSPORTS, OtherClient

ROOT = FOLDERS.parents[2]

DISTRIBUTED = [client for client in CLIENTS if "Debian" not in client.library]


def everything(fault: str) -> document.Results:
    """A run in which each case of each cell ended so."""
    return {
        (client.name, version, scheme): dict.fromkeys(CASES, fault)
        for client in CLIENTS
        for version in client.versions
        for scheme in client.transports
    }


def test_the_page_has_the_rows_of_the_matrix() -> None:
    assert not document.stale(), "make interop"


def test_a_page_with_other_rows_is_stale(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(document, "CLIENTS", CLIENTS[1:])
    assert document.stale()


def test_findings_alone_do_not_make_a_page_stale() -> None:
    assert document.shape(document.render(everything(""))) == document.shape(document.render(everything("lost")))


def test_a_cell_names_the_cases_that_failed() -> None:
    page = document.render({("gmqtt", "5.0", "mqtts"): dict.fromkeys(CASES, "") | {"QoS 2": "lost", "will": "silent"}})
    assert "| gmqtt | gmqtt 0.8.0 | 5.0 | not run | not QoS 2, will | – | – |" in page


def test_every_folder_belongs_to_a_client() -> None:
    assert {folder.name for folder in FOLDERS.iterdir() if folder.is_dir()} == {client.folder for client in CLIENTS}


@pytest.mark.parametrize("client", DISTRIBUTED, ids=lambda client: client.name)
def test_the_version_on_the_page_is_the_one_that_is_pinned(client: OtherClient) -> None:
    library, version = client.library.split(" ")
    folder = FOLDERS / client.folder
    pins = [path for name in ("package.json", "go.mod", "pom.xml", "Cargo.toml") if (path := folder / name).exists()]
    text = "".join(path.read_text() for path in pins or [ROOT / "requirements.lock"])
    assert re.search(rf"{re.escape(library)}\W.{{0,60}}\b{re.escape(version)}\b", text, re.DOTALL)


def test_all_transports_and_versions_are_spoken_by_somebody() -> None:
    assert {scheme for client in CLIENTS for scheme in client.transports} == set(TRANSPORTS)
