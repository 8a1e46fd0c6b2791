"""Device to device (D2D): how does a button on one board switch the lamp on another, and know that it did?

python examples/small/board_to_board.py lamp 7 --url mqtt://localhost
python examples/small/board_to_board.py button 7

The button asks, the lamp answers (request and response of MQTT 5.0). At QoS 2, as a push that comes twice would switch
the lamp off again. The state is retained: whoever comes later sees it.
"""

from __future__ import annotations

import argparse
import asyncio
import sys

from tidewire import Client, Message, TidewireError, Will


async def lamp(url: str, number: str) -> None:
    """Be a lamp until Ctrl-C."""
    client = Client(url, will=Will(f"lamps/{number}/state", "lost", qos=1, retain=True))
    on = False

    @client.responder(f"lamps/{number}/push", qos=2)
    async def pushed(_: Message) -> str:
        nonlocal on
        on = not on
        return await show()

    async def show() -> str:
        state = "on" if on else "off"
        await client.publish(f"lamps/{number}/state", state, qos=1, retain=True)
        print(f"lamp {number} is {state}")
        return state

    async with client:
        await show()
        await client.run()


async def button(url: str, number: str) -> None:
    """Push once, and say what became of it."""
    async with Client(url) as client:
        answer = await client.request(f"lamps/{number}/push", qos=2, timeout=5)
        print(f"lamp {number} says: {answer.text()}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="A button here, a lamp there.")
    parser.add_argument("board", choices=["lamp", "button"])
    parser.add_argument("number", help="which lamp")
    parser.add_argument("--url", default="mqtt://localhost", help="the broker (%(default)s)")
    arguments = parser.parse_args()
    run = lamp if arguments.board == "lamp" else button
    try:
        asyncio.run(run(arguments.url, arguments.number))
    except TimeoutError:
        sys.exit(f"board_to_board: lamp {arguments.number} does not answer; start it first")
    except (TidewireError, ValueError) as error:
        sys.exit(f"board_to_board: {error}")
    except KeyboardInterrupt:
        pass
