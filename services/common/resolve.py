"""Every address behind a target, for whoever chooses among replicas by itself."""

from __future__ import annotations

import asyncio
import socket

from services.common import logs

log = logs.logger(__name__)
_DNS = "dns:///"


async def resolve(target: str) -> list[str]:
    """``host:port`` of each; none while a name has no address.

    Args:
        target: ``host:port``, or ``dns:///host:port`` for all addresses of a name.
    """
    if not target.startswith(_DNS):
        return [target]
    host, _, port = target.removeprefix(_DNS).rpartition(":")
    loop = asyncio.get_running_loop()
    try:
        found = await loop.getaddrinfo(host, int(port), type=socket.SOCK_STREAM)
    except OSError as error:
        log.warning("name not resolved", name=host, error=str(error))
        return []
    addresses = {str(address[0]) for *_, address in found}
    return [f"[{a}]:{port}" if ":" in a else f"{a}:{port}" for a in sorted(addresses)]
