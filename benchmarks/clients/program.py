"""How a client program is started: `python -m benchmarks.clients.program CLIENT KIND PORT WARM_UP MESSAGES LOOP`.

It runs one kind of work, a function of `benchmarks/clients/CLIENT.py`. Its last line is what it found, in JSON.
"""

from __future__ import annotations

import asyncio
import importlib
import inspect
import json
import sys
from collections.abc import Callable

from benchmarks.clients.work import Unsupported, Work


def main(client: str, kind: str, port: str, warm_up: str, messages: str, loop: str) -> None:
    work = Work(int(port), int(warm_up), int(messages))
    function = getattr(importlib.import_module(f"benchmarks.clients.{client}"), kind)
    try:
        if inspect.iscoroutinefunction(function):
            with asyncio.Runner(loop_factory=loop_factory(loop)) as runner:
                runner.run(function(work))
        else:
            function(work)
    except Unsupported as error:
        work.figures["unsupported"] = str(error)
    print(json.dumps(work.figures), flush=True)


def loop_factory(name: str) -> Callable[[], asyncio.AbstractEventLoop]:
    if name == "uvloop":
        import uvloop  # noqa: PLC0415 (only where it is asked for)

        return uvloop.new_event_loop
    return asyncio.new_event_loop


if __name__ == "__main__":
    main(*sys.argv[1:])
