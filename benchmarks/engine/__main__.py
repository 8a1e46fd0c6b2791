"""`python -m benchmarks.engine BUILD…`: what does the engine take for a delivery, in one build and in others?

A few per cent cannot be seen through sockets on a machine that does other things too. So each build runs in a process
of its own, and they take turns at rounds of a millisecond: what disturbs one, disturbs the others, and the ratio of two
neighbours is hardly touched by it. Of many such ratios the median counts.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import median
from typing import Final

import click

from benchmarks.engine import work
from benchmarks.engine.work import ALL_WORK, READY

ROUNDS: Final = 400


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("builds", nargs=-1, required=True, type=click.Path(path_type=Path, file_okay=False, exists=True))
@click.option("--only", default="", metavar="KEY,…", help=f"Of {', '.join(ALL_WORK)}.")
@click.option("--rounds", type=click.IntRange(1), default=ROUNDS, show_default=True, help="Of each build and work.")
@click.option("--json", "result", type=click.Path(path_type=Path, dir_okay=False), help="Write the figures there.")
def main(*, builds: Sequence[Path], only: str, rounds: int, result: Path | None) -> None:
    """Compare builds of the engine with the first of them. BUILD is a directory that holds the package, as
    build/compiled of a checkout, or its src."""
    keys = [key for key in only.split(",") if key] or list(ALL_WORK)
    if unknown := [key for key in keys if key not in ALL_WORK]:
        raise click.BadParameter(f"{', '.join(unknown)}; there are {', '.join(ALL_WORK)}", param_hint="--only")
    figures: dict[str, list[dict[str, float]]] = {}
    with ExitStack() as stack:
        programs = [stack.enter_context(running(build, keys)) for build in builds]
        for key in keys:
            taken = take_turns(programs, key, rounds)
            figures[key] = []
            for build, times in zip(builds, taken, strict=True):
                ratio = median(ours / first for ours, first in zip(times, taken[0], strict=True))
                figures[key].append({"ns_per_delivery": median(times), "least_ns": min(times), "ratio": ratio})
                click.echo(f"{key:26}{median(times):10.3f} ns{min(times):10.3f} at least{ratio - 1:+8.1%}  {build}")
    if result is not None:
        result.write_text(
            json.dumps({"builds": [str(build) for build in builds], "rounds": rounds, "figures": figures}, indent=1)
            + "\n"
        )


def take_turns(programs: Sequence[subprocess.Popen[str]], key: str, rounds: int) -> list[list[float]]:
    """Nanoseconds a delivery, by program and round."""
    taken: list[list[float]] = [[] for _ in programs]
    turns = list(zip(programs, taken, strict=True))
    for _ in range(rounds):
        random.shuffle(turns)  # nobody always comes after the same one
        for program, times in turns:
            times.append(float(ask(program, key)))
    return taken


def ask(program: subprocess.Popen[str], key: str) -> str:
    """Have one round done. Raises ClickException if the program has ended."""
    assert program.stdin is not None and program.stdout is not None
    try:
        program.stdin.write(key + "\n")
        program.stdin.flush()
    except BrokenPipeError:
        pass  # it has said why
    return answer(program)


def answer(program: subprocess.Popen[str]) -> str:
    assert program.stdout is not None and program.stderr is not None
    line = program.stdout.readline().strip()
    if not line:
        said = program.stderr.read().strip().rpartition("\n")[2]
        raise click.ClickException(f"a build failed: {said}")
    return line


@contextmanager
def running(build: Path, keys: Sequence[str]) -> Iterator[subprocess.Popen[str]]:
    """The program of one build, with everything in place."""
    if not (build / "tidewire" / "engine").is_dir():
        raise click.BadParameter(f"{build} holds no tidewire/engine; name a build/compiled or src", param_hint="BUILD")
    with subprocess.Popen(
        [sys.executable, "-P", work.__file__, *keys],
        env=os.environ | {"PYTHONPATH": str(build), "PYTHONHASHSEED": "0"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as program:
        try:
            if (said := answer(program)) != READY:
                raise click.ClickException(f"{build} said {said}")
            yield program
        finally:
            program.kill()


if __name__ == "__main__":
    main(prog_name="python -m benchmarks.engine")
