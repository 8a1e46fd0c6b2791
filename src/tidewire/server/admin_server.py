"""Where does the administration listen, and for whom? The HTTP API of one broker, behind its token."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tidewire.server.admin import Admin
from tidewire.server.admin_config import AdminConfig, read_token
from tidewire.server.config import ConfigError
from tidewire.server.http_config import HttpConfigFault, check_addresses
from tidewire.server.log import logger

try:
    from tidewire.server.admin_http import Api
    from tidewire.server.http_server import HttpServer
except ImportError as error:
    raise ConfigError(f"[admin] needs {error.name}, which is not installed: pip install 'tidewire[admin]'") from None

if TYPE_CHECKING:
    from tidewire.server.server import Server


async def serve_admin(server: Server, config: AdminConfig) -> HttpServer:
    """Open it. Raises ConfigError for a token, a certificate or an address that cannot be used."""
    try:
        token = read_token(config)
        check_addresses(config, "the token")
    except HttpConfigFault as fault:
        raise ConfigError(f"admin.{'.'.join(fault.key)}: {fault}") from None
    served = await HttpServer.open(Api(server, Admin(server)).app(token), "admin", config, lifespan="off", ws="none")
    logger.info("admin: %s", ", ".join(served.urls))
    return served
