"""Where is the page served? NiceGUI on the broker's own loop, behind the gate, with the broker's life."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from tidewire.server.admin import Admin
from tidewire.server.config import ConfigError
from tidewire.server.console_config import ConsoleConfig
from tidewire.server.log import logger

try:
    from fastapi import FastAPI
    from nicegui import __version__, ui
    from nicegui import app as nicegui

    from tidewire.console.compressed import Compressed
    from tidewire.console.gate import Gate
    from tidewire.console.overview.history import history_of
    from tidewire.console.pages import PAGES, register
    from tidewire.console.visits import Visits
    from tidewire.server.http_server import HttpServer
except ImportError as error:
    mend = "pip install 'tidewire[console]'"
    raise ConfigError(f"the console needs {error.name}, which is not installed: {mend}") from None

if TYPE_CHECKING:
    from tidewire.server.server import Server

TAB_S: Final = 600.0
"""How long NiceGUI remembers a browser's tab that was closed: it is a month if it is not told."""

ICON: Final = """<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 32 32">
<rect width="32" height="32" rx="8" fill="#0b6e8f"/>
<path d="M4 20c4 0 4-7 8-7s4 7 8 7 4-7 8-7" fill="none" stroke="#fff" stroke-width="3" stroke-linecap="round"/></svg>"""


async def serve_console(server: Server, config: ConsoleConfig) -> list[str]:
    """Open the page of a broker that runs; where it is. Once in a process: NiceGUI is one for all of it.

    Raises ConfigError for what keeps it from being served."""
    admin = Admin(server)
    app = FastAPI(openapi_url=None)
    register(admin)
    ui.run_with(
        app,
        title="Tidewire",
        favicon=ICON,
        language="en-US",
        dark=None,
        gzip_middleware_factory=None,  # it would compress on the broker's loop, and again for each visitor
        show_welcome_message=False,
    )
    nicegui.storage.max_tab_storage_age = TAB_S
    visits = Visits(server.clock, lambda: server.access.policy)  # a reload makes another policy
    gate = Gate(
        Compressed(app, f"/_nicegui/{__version__}/"),
        admin,
        visits,
        operators=config.operators,
        hosts=[*config.hosts, *config.bind],
        pages=[page.path for page in PAGES],
    )
    served = await HttpServer.open(
        gate,
        "console",
        config,
        lifespan="on",
        ws_per_message_deflate=False,
        proxy_headers=bool(config.trusted_proxies),
        forwarded_allow_ips=config.trusted_proxies,
    )
    server.at_stop.append(served.close)

    def sweep(now: float) -> bool:
        visits.sweep()
        return True

    server.at_tick += [sweep, history_of(admin).tick]
    logger.info("console: %s", ", ".join(served.urls))
    return served.urls
