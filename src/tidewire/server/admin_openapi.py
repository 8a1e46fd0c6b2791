"""How is the administration over HTTP described? As OpenAPI, made from what each call takes and answers."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import Any

import msgspec

from tidewire import __version__
from tidewire.server.admin_types import Fault


@dataclass(frozen=True)
class Call:
    """One method of one path."""

    method: str
    path: str
    summary: str
    takes: Any
    """A struct of its parameters, or of its body."""
    gives: Any
    answer: Callable[[Any, str], Awaitable[Any]]
    """From what it takes, and the name in its path; None: there is nobody of that name."""
    body: bool = False
    stream: bool = False


def document(calls: Iterable[Call]) -> dict[str, Any]:
    """The description, as of OpenAPI 3.1."""
    calls = list(calls)
    bodies = [call.takes for call in calls if call.body]
    types = [*(call.gives for call in calls), *bodies, Fault]
    schemas, components = msgspec.json.schema_components(types, ref_template="#/components/schemas/{name}")
    given = dict(zip(map(str, types), schemas, strict=True))
    paths: dict[str, dict[str, Any]] = {}
    for call in calls:
        paths.setdefault(call.path, {})[call.method.lower()] = _operation(call, given)
    for path, summary, kind in (
        ("/health", "Whether it serves, and what is to be kept is kept. Without the token.", "application/json"),
        ("/metrics", "The overview for Prometheus.", "text/plain"),
    ):
        answers = {"200": {"description": summary, "content": {kind: {}}}}
        paths[path] = {"get": {"summary": summary, "responses": answers}}
    paths["/health"]["get"]["security"] = []
    return {
        "openapi": "3.1.0",
        "info": {"title": "The administration of a Tidewire broker", "version": __version__},
        "paths": paths,
        "components": {
            "schemas": components,
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
        "security": [{"token": []}],
    }


def _operation(call: Call, given: dict[str, Any]) -> dict[str, Any]:
    media = "application/x-ndjson" if call.stream else "application/json"
    fault = {"application/json": {"schema": given[str(Fault)]}}
    operation: dict[str, Any] = {
        "summary": call.summary,
        "operationId": re.sub(r"\W+", "_", f"{call.method.lower()} {call.path.removeprefix('/v1/')}").strip("_"),
        "responses": {
            "200": {"description": call.summary, "content": {media: {"schema": given[str(call.gives)]}}},
            "400": {"description": "What was asked for cannot be done so.", "content": fault},
            "401": {"description": "The token is missing or wrong.", "content": fault},
        },
    }
    parameters = []
    if "{name}" in call.path:
        where = {"name": "name", "in": "path", "required": True, "schema": {"type": "string"}}
        parameters.append({**where, "description": "A client identifier."})
        operation["responses"]["404"] = {"description": "There is no such client.", "content": fault}
    if call.body:
        operation["requestBody"] = {"required": True, "content": {media: {"schema": given[str(call.takes)]}}}
    else:
        _, components = msgspec.json.schema_components((call.takes,))
        described = components[call.takes.__name__]
        for name, schema in described["properties"].items():
            required = name in described.get("required", ())
            parameters.append({"name": name, "in": "query", "required": required, "schema": schema})
    if parameters:
        operation["parameters"] = parameters
    return operation
