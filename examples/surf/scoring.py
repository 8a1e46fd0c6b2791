"""How do rides become scores? A service of which several run: each ride goes to one of them, and none is lost.

The rides come by a shared subscription of a session that outlives the process. A ride is acknowledged after it is in
the history and the leader board is out, so a service that is killed in between gets it again, and the history knows it
by its identifier. At least once on the way and once in the store make once.
"""

from __future__ import annotations

import logging

import msgspec

from examples.surf.heat import Heat
from examples.surf.history import History
from examples.surf.messages import LEADER_BOARD, RIDES, Ride, ride_topic, scored_topic
from examples.surf.scores import leader_board, score
from tidewire import Client, Message

SHARED = f"$share/scoring/{RIDES}"

logger = logging.getLogger("surf.scoring")


async def serve(heat: Heat, history: History, judge: str) -> None:
    """Score rides until cancelled, as the judge of that name; the next life has to bear the same one."""
    client = heat.client("scoring", client_id=f"{heat.id}-{judge}", receive_maximum=8)
    async with client, client.subscribe(SHARED, qos=1, manual_ack=True, keep=True) as rides:
        await publish_scores(client, heat, history)
        async for message in rides:
            if (ride := read(message)) is not None:
                history.add(ride, score(ride), judge)  # blocks for a commit: there is nothing else to do meanwhile
                await publish_scores(client, heat, history, ride.surfer)
            message.ack()


def read(message: Message) -> Ride | None:
    """The ride of a message. None, with a line in the log: it is none, or that of another surfer."""
    try:
        ride = msgspec.json.decode(message.payload, type=Ride)
    except msgspec.DecodeError as error:
        logger.warning("%s: no ride, left out: %s", message.topic, error)
        return None
    if message.topic != ride_topic(ride.surfer):
        logger.warning("%s: a ride of %s, left out: a board hands in its own", message.topic, ride.surfer)
        return None
    return ride


async def publish_scores(client: Client, heat: Heat, history: History, surfer: str = "") -> None:
    """Publish who leads, and the last ride of that surfer.

    Again if another service has added a ride meanwhile: so what is published last is what is in the history.
    """
    count = -1
    while count != history.count():
        rides = history.rides()
        count = len(rides)
        for last in [scored for scored in rides if scored.ride.surfer == surfer][-1:]:
            await client.publish(scored_topic(surfer), last, qos=1, retain=True)
        await client.publish(LEADER_BOARD, leader_board(heat.id, rides), qos=1, retain=True)
