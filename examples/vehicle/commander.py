"""How is a vehicle told something, so that it happens once and one knows what came of it?"""

from __future__ import annotations

import secrets
from time import perf_counter
from typing import Final

from msgspec import Struct

from examples.vehicle.messages import AnyCommand, Request, Response, topic
from tidewire import Client

COMMAND_LIFE_S: Final = 30
"""A command that has not arrived by then is dropped: nobody wants a vehicle to obey what was said a minute ago."""

ANSWER_S: Final = 5.0
"""How long one attempt waits for the answer."""

ATTEMPTS: Final = 3
"""The same command, by the same id: what is done already is only answered again."""


class Answer(Struct, frozen=True):
    """What came of a command, and how long it took from here to the vehicle and back."""

    response: Response
    seconds: float


class Commander:
    """Sends commands over a connected client, as many at a time as you like."""

    def __init__(self, client: Client, answer_s: float = ANSWER_S) -> None:
        self._client = client
        self._answer_s = answer_s

    async def send(self, vehicle: str, command: AnyCommand, id: str | None = None) -> Answer:
        """Wait for the vehicle's answer, which may be that it refuses. Without an id a new one is made up.

        Raises TimeoutError when there is none: then nobody knows whether it was done. Raises tidewire.PublishError
        when the broker does not let us, or has no such vehicle.
        """
        request = Request(id or secrets.token_hex(8), command)
        begun = perf_counter()
        for _ in range(ATTEMPTS):
            try:
                message = await self._client.request(
                    topic(vehicle, "commands"),
                    request,
                    qos=2,
                    timeout=self._answer_s,
                    response_topic=topic(vehicle, "responses"),
                    message_expiry=COMMAND_LIFE_S,
                    content_type="application/json",
                )
            except TimeoutError:
                continue
            return Answer(message.json(Response), perf_counter() - begun)
        raise TimeoutError(
            f"{vehicle} has not answered in {ATTEMPTS * self._answer_s:g} s; it may still obey if it comes back soon"
        )
