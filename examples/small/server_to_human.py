"""Server to human (S2H): how does an alarm reach somebody who has nothing but a browser?

python examples/small/server_to_human.py 'home/+/alarm' --url mqtt://localhost
tidewire pub -t home/hall/alarm -m 'somebody moves in the hall'

The page that it serves lists what comes and shows each message as a notification of the desktop, once it is allowed
to. Messages travel to the page as server-sent events. It needs `pip install 'tidewire[admin]'`.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import socket
import sys
from collections.abc import AsyncIterator

import uvicorn
from starlette.applications import Starlette
from starlette.responses import HTMLResponse, StreamingResponse
from starlette.routing import Route

from tidewire import Client, TidewireError

PAGE = """<!doctype html><meta charset="utf-8"><title>Alarms</title>
<meta name="viewport" content="width=device-width"><meta name="color-scheme" content="light dark">
<style>body { font: 1.1rem system-ui; max-width: 40rem; margin: 2rem auto; padding: 0 1rem }</style>
<h1>Alarms</h1><button onclick="Notification.requestPermission()">Notify me</button><ol id="list" reversed></ol>
<script>
new EventSource("/events").onmessage = event => {
  const { topic, text } = JSON.parse(event.data), item = document.createElement("li")
  item.textContent = `${new Date().toLocaleTimeString()}  ${topic}: ${text}`
  list.prepend(item)
  while (list.children.length > 100) list.lastChild.remove()
  if (Notification.permission === "granted") new Notification(topic, { body: text })
}
</script>
"""


async def serve(topic_filter: str, url: str, port: int) -> None:
    """Serve the page until Ctrl-C: one connection to the broker, one stream for each browser."""
    listener = socket.create_server(("127.0.0.1", port))
    async with Client(url) as client:

        async def lines() -> AsyncIterator[str]:
            async with client.subscribe(topic_filter, qos=1, overflow="drop_oldest") as messages:
                while not server.should_exit:
                    try:
                        message = await messages.get(timeout=1)
                    except TimeoutError:
                        yield ":\n\n"  # a comment, by which a browser that is gone is noticed
                        continue
                    text = message.payload.decode(errors="replace")
                    yield f"data: {json.dumps({'topic': message.topic, 'text': text})}\n\n"

        page = Route("/", lambda _: HTMLResponse(PAGE))
        events = Route("/events", lambda _: StreamingResponse(lines(), media_type="text/event-stream"))
        application = Starlette(routes=[page, events])
        server = uvicorn.Server(uvicorn.Config(application, log_level="warning", timeout_graceful_shutdown=3))
        print(f"the page is at http://127.0.0.1:{listener.getsockname()[1]}")
        await server.serve([listener])


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Messages on a web page, and as notifications.")
    parser.add_argument("topic_filter", help="which messages")
    parser.add_argument("--url", default="mqtt://localhost", help="the broker (%(default)s)")
    parser.add_argument("--port", type=int, default=8000, help="of the page, on this machine (%(default)s)")
    said = parser.parse_args()
    try:
        asyncio.run(serve(said.topic_filter, said.url, said.port))
    except (TidewireError, ValueError) as error:
        sys.exit(f"server_to_human: {error}")
    except OSError:
        sys.exit(f"server_to_human: cannot listen on port {said.port}; take another with --port, or any with 0")
    except KeyboardInterrupt:
        pass
