"""How does a client's program get into build/interop, once for each change of its folder?"""

from __future__ import annotations

import asyncio
import hashlib
import shutil
from pathlib import Path
from typing import Final

from tests.interop.matrix.clients import FOLDERS, OtherClient

BUILT: Final = FOLDERS.parents[2] / "build" / "interop"
BUILD_S: Final = 600.0
"""How long one client may take to download and compile; Rust's takes longest."""


class CannotBuild(Exception):
    """One line: the command, and the last that it said."""


async def build(client: OtherClient) -> Path:
    """The folder where the client lies ready. Raises `CannotBuild`."""
    source, place = FOLDERS / client.folder, BUILT / client.folder
    stamp, fingerprint = place / ".built", _fingerprint(source, client.build)
    if not (stamp.exists() and stamp.read_text() == fingerprint):
        shutil.copytree(source, place, dirs_exist_ok=True)
        for command in client.build:
            await _run(command, place)
        stamp.write_text(fingerprint)
    return place


async def _run(command: tuple[str, ...], place: Path) -> None:
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(
        *command, cwd=place, stdin=asyncio.subprocess.DEVNULL, stdout=pipe, stderr=asyncio.subprocess.STDOUT
    )
    try:
        async with asyncio.timeout(BUILD_S):
            said, _ = await process.communicate()
    except TimeoutError:
        raise CannotBuild(f"{' '.join(command)}: not done in {BUILD_S:.0f} s") from None
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode:
        (place / "build.log").write_bytes(said)
        raise CannotBuild(f"{' '.join(command)} failed; see {place / 'build.log'}")


def _fingerprint(source: Path, commands: tuple[tuple[str, ...], ...]) -> str:
    digest = hashlib.sha256(repr(commands).encode())
    for file in sorted(source.rglob("*")):
        if file.is_file():
            digest.update(f"{file.relative_to(source)} {file.stat().st_size} ".encode() + file.read_bytes())
    return digest.hexdigest()
