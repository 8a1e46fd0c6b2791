"""Server to server (S2S): how does a site keep working while its line to the centre is down?

python examples/small/server_to_server.py --url mqtt://localhost --port 1884
tidewire pub -p 1884 -t sensors/1 -m 17.5 -q 1      # there: site7/sensors/1
tidewire pub -t site7/commands/valve -m open -q 1   # here: commands/valve

The site has a broker of its own, with a bridge to the one of the centre. The devices know of their broker only. What
cannot be sent waits for the line; see docs/bridges.md, also for the same as a configuration file. The site's broker is
Tidewire, whose bridge it is; the one of the centre may be any.
"""

from __future__ import annotations

import argparse
import asyncio
import sys

from tidewire import Broker, Client, ConfigError, TidewireError

STATES = {"0": "the centre is away: what is for it waits", "1": "connected to the centre"}


async def site(url: str, port: int) -> None:
    """Run the broker of the site until Ctrl-C, and say how its bridge fares."""
    bridge = {
        "name": "centre",
        "url": url,
        "topics": [
            {"filter": "sensors/#", "direction": "out", "qos": 1, "remote_prefix": "site7/"},
            {"filter": "commands/#", "direction": "in", "qos": 2, "remote_prefix": "site7/"},
        ],
    }
    async with Broker({"bridge": [bridge]}, port=port) as broker:
        print(f"the broker of the site is {broker.url}")
        async with Client(broker.url) as client, client.subscribe("$SYS/broker/bridge/centre/state") as states:
            async for state in states:
                print(STATES[state.text()])


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="A broker for a site, bridged to the one of the centre.")
    parser.add_argument("--url", default="mqtt://localhost", help="the broker of the centre (%(default)s)")
    parser.add_argument("--port", type=int, default=1884, help="of the site's broker; 0: any free one (%(default)s)")
    arguments = parser.parse_args()
    try:
        asyncio.run(site(arguments.url, arguments.port))
    except (ConfigError, TidewireError) as error:
        sys.exit(f"server_to_server: {str(error).replace('port=', '--port ')}")  # it speaks of Broker's argument
    except KeyboardInterrupt:
        pass
