"""Storing and plotting: how does what sensors publish become a file, and the file a picture?

python examples/small/sensor_plot.py record 'home/+/temperature' --url mqtt://localhost
python examples/small/sensor_plot.py plot readings.svg

Each message that is a number is written to an SQLite file, and acknowledged to the broker after that. The picture has
a line for each topic; it needs `pip install matplotlib`.
"""

from __future__ import annotations

import argparse
import asyncio
import sqlite3
import sys
import time
from contextlib import closing
from itertools import groupby

from tidewire import Client, TidewireError

READINGS_MAXIMUM = 1_000_000
"""How many are kept, some 60 MB; the oldest go first."""

TABLE = "CREATE TABLE IF NOT EXISTS readings (id INTEGER PRIMARY KEY, time REAL, topic TEXT, value REAL)"


async def record(database: sqlite3.Connection, topic_filter: str, url: str) -> None:
    """Write down what comes until Ctrl-C."""
    async with Client(url) as client, client.subscribe(topic_filter, qos=1) as readings:
        print(f"recording {topic_filter}")
        async for message in readings:
            try:
                reading = (time.time(), message.topic, message.json(float))
            except ValueError as error:
                print(f"{message.topic}: {error}")
                continue
            row = database.execute("INSERT INTO readings (time, topic, value) VALUES (?, ?, ?)", reading).lastrowid
            database.execute("DELETE FROM readings WHERE id <= ?", ((row or 0) - READINGS_MAXIMUM,))
            print(message.topic, reading[2])


def plot(database: sqlite3.Connection, picture: str) -> None:
    """Draw all that was written down."""
    try:
        from matplotlib.figure import Figure  # noqa: PLC0415 (recording needs none of it)
    except ImportError:
        sys.exit("sensor_plot: drawing needs matplotlib: pip install matplotlib")
    figure = Figure(figsize=(10, 5), layout="constrained")
    axes = figure.add_subplot(xlabel="time (UTC)")
    rows = database.execute("SELECT topic, time, value FROM readings ORDER BY topic, time")
    for topic, readings in groupby(rows, key=lambda row: row[0]):
        _, times, values = zip(*readings, strict=True)
        axes.plot([at / 86_400 for at in times], values, marker=".", label=topic)  # matplotlib's dates are days
    if not axes.lines:
        sys.exit("sensor_plot: nothing was recorded yet: sensor_plot.py record 'home/+/temperature'")
    axes.xaxis_date("UTC")
    axes.legend()
    figure.savefig(picture)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Store what sensors publish, and plot it.")
    parser.add_argument("what", choices=["record", "plot"])
    parser.add_argument("where", help="the topic filter to record, or the picture to draw (.svg, .png, .pdf)")
    parser.add_argument("--url", default="mqtt://localhost", help="the broker (%(default)s)")
    parser.add_argument("--file", default="readings.db", help="where the readings are kept (%(default)s)")
    said = parser.parse_args()
    try:
        with closing(sqlite3.connect(said.file, isolation_level=None)) as file:
            file.execute(TABLE)
            plot(file, said.where) if said.what == "plot" else asyncio.run(record(file, said.where, said.url))
    except (TidewireError, ValueError, OSError, sqlite3.Error) as error:
        sys.exit(f"sensor_plot: {error}")
    except KeyboardInterrupt:
        pass
