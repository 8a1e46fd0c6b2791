"""An HTTP client reads the last value: how does a program that speaks no MQTT ask what a sensor said last?

python examples/small/last_value.py serve 'home/#' --url mqtt://localhost
python examples/small/last_value.py read home/kitchen/temperature          # or: curl localhost:8000/home/kitchen/…

It needs `pip install 'tidewire[admin]'`, and any broker. A Tidewire broker answers for its retained messages itself,
without this program: docs/admin.md.
"""

from __future__ import annotations

import argparse
import asyncio
import socket
import sys
from collections import OrderedDict
from urllib.error import HTTPError
from urllib.parse import quote
from urllib.request import urlopen

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from tidewire import Client, Message, TidewireError

TOPICS_MAXIMUM = 10_000
"""Values that are kept; the topic that has been silent for longest goes first."""


async def serve(topic_filter: str, url: str, port: int) -> None:
    """Remember the last message of each topic, and answer HTTP requests from that, until Ctrl-C."""
    listener = socket.create_server(("127.0.0.1", port))
    client = Client(url)
    last: OrderedDict[str, bytes] = OrderedDict()

    @client.on(topic_filter)
    def remember(message: Message) -> None:
        last[message.topic] = message.payload
        last.move_to_end(message.topic)
        if len(last) > TOPICS_MAXIMUM:
            last.popitem(last=False)

    async def answer(request: Request) -> Response:
        value = last.get(request.path_params["topic"])
        return Response("nothing was published there\n", 404) if value is None else Response(value)

    async with client:
        application = Starlette(routes=[Route("/{topic:path}", answer)])
        config = uvicorn.Config(application, log_level="warning", timeout_graceful_shutdown=1)
        print(f"serving on http://127.0.0.1:{listener.getsockname()[1]}")
        await uvicorn.Server(config).serve([listener])


def read(topic: str, port: int) -> None:
    """Print the last value of a topic."""
    with urlopen(f"http://127.0.0.1:{port}/{quote(topic)}", timeout=5) as answer:
        print(answer.read().decode(errors="replace"))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="The last value of a topic, over HTTP.")
    parser.add_argument("what", choices=["serve", "read"])
    parser.add_argument("topic", help="the topic filter to serve, or the topic to read")
    parser.add_argument("--url", default="mqtt://localhost", help="the broker (%(default)s)")
    parser.add_argument("--port", type=int, default=8000, help="of HTTP, on this machine (%(default)s)")
    said = parser.parse_args()
    try:
        asyncio.run(serve(said.topic, said.url, said.port)) if said.what == "serve" else read(said.topic, said.port)
    except (TidewireError, ValueError, HTTPError) as error:
        sys.exit(f"last_value: {error}")
    except OSError:
        if said.what == "read":
            sys.exit(f"last_value: nothing serves on port {said.port}; start it: last_value.py serve 'home/#'")
        sys.exit(f"last_value: cannot listen on port {said.port}; take another with --port, or any with 0")
    except KeyboardInterrupt:
        pass
