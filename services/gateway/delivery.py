"""Sends events to webhooks: signed, tried again, and only into the public internet."""

from __future__ import annotations

import asyncio
import ipaddress
import random
import re
import socket
import time
from collections.abc import Iterable
from datetime import UTC, datetime
from urllib.parse import urlsplit

import httpcore
from standardwebhooks import Webhook

from services.common import logs
from services.gateway.core import Gateway
from services.gateway.errors import ParamError
from services.gateway.metrics import DELIVERIES
from services.gateway.model import DeliveryRecord, EventRecord, WebhookRecord, now_s

log = logs.logger(__name__)

_JITTER = 0.2
_PRINTABLE = re.compile(r"[!-~]+")
_UNICAST = ipaddress.ip_network("2000::/3")  # the rest of IPv6 is local, translated or not assigned
# Public by their number and yet not in the public internet.
_SPECIAL = tuple(
    ipaddress.ip_network(network)
    for network in (
        "192.0.0.0/24",  # protocol assignments; a cloud's metadata service among them
        "192.88.99.0/24",  # 6to4 relays
        "168.63.129.16/32",  # the host of a virtual machine on Azure
    )
)


class Refused(Exception):
    """The address of a webhook is not one that may be called."""


class _PublicOnly(httpcore.AsyncNetworkBackend):
    """Resolves names itself and connects to what it has checked: a second look-up might differ."""

    def __init__(self, allow_private: bool) -> None:
        self._allow_private = allow_private
        self._inner = httpcore.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        address = await resolve(host, port, self._allow_private)
        return await self._inner.connect_tcp(address, port, timeout, local_address, socket_options)

    async def sleep(self, seconds: float) -> None:
        await self._inner.sleep(seconds)


class Sender:
    """Looks at deliveries that are due; an async context manager."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._settings = gateway.settings
        self._pool = httpcore.AsyncConnectionPool(
            network_backend=_PublicOnly(self._settings.webhook_allow_private),
            max_connections=None,  # whoever waited for one would be taken for not answered
            max_keepalive_connections=0,
        )

    async def __aenter__(self) -> Sender:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._pool.aclose()

    async def look(self, record: DeliveryRecord) -> float:
        """Try it once, or sweep it when its time is over."""
        tables = self._gateway.tables
        if record.state != "pending":
            await tables.deliveries.delete(record.tenant, record.id)
            return 0.0
        event = await tables.events.find(record.tenant, record.event)
        webhook = await tables.webhooks.find(record.tenant, record.webhook)
        if event is None or webhook is None:
            await tables.deliveries.delete(record.tenant, record.id)
            return 0.0
        status, message = await self._send(webhook, event)
        await tables.deliveries.update(
            record.tenant, record.id, lambda old: self._after(old, status, message)
        )
        return 0.0

    async def _send(self, webhook: WebhookRecord, event: EventRecord) -> tuple[int | None, str]:
        """The status of the answer, and what was wrong; nothing was where it is empty."""
        try:
            async with asyncio.timeout(self._settings.webhook_timeout_s):
                # Redirects are not followed, and nobody reads what the other side says.
                async with self._pool.stream(
                    "POST", webhook.url, headers=signed_headers(webhook, event),
                    content=event.body.encode(),
                ) as response:  # fmt: skip
                    status = response.status
        except TimeoutError:
            return None, f"no answer within {self._settings.webhook_timeout_s:g} s"
        except (Refused, OSError, httpcore.TimeoutException) as error:
            return None, str(error) or type(error).__name__
        except (httpcore.NetworkError, httpcore.ProtocolError) as error:
            return None, str(error) or type(error).__name__
        return status, "" if 200 <= status < 300 else f"answered {status}"

    def _after(self, old: DeliveryRecord, status: int | None, message: str) -> DeliveryRecord:
        attempts = old.attempts + 1
        waits = self._settings.webhook_retry_s
        state = "delivered" if not message else "pending" if attempts <= len(waits) else "failed"
        DELIVERIES.labels("delivered" if not message else "failed").inc()
        log.info("webhook tried", delivery=old.id, state=state, status=status, problem=message)
        wait_s = waits[attempts - 1] if state == "pending" else 0.0
        return old.model_copy(
            update={
                "state": state, "attempts": attempts, "status_code": status, "message": message,
                "next_s": now_s() + wait_s * random.uniform(1, 1 + _JITTER),
                "delete_s": now_s() + self._settings.event_keep_s,
            }
        )  # fmt: skip


def signed_headers(
    webhook: WebhookRecord, event: EventRecord
) -> list[tuple[bytes | str, bytes | str]]:
    """By standardwebhooks.com: the id is the event's, the same at every attempt."""
    now = datetime.fromtimestamp(int(time.time()), UTC)
    return [
        ("host", urlsplit(webhook.url).netloc),
        ("content-type", "application/json"),
        ("user-agent", "synctalk-webhooks/1"),
        ("webhook-id", event.id),
        ("webhook-timestamp", str(int(now.timestamp()))),
        ("webhook-signature", Webhook(webhook.secret).sign(event.id, now, event.body)),
    ]


async def check_url(url: str, *, allow_private: bool) -> None:
    """Refuse a URL that must not be called.

    Raises:
        ParamError: not https, with credentials, or leading into a private network.
    """
    try:
        if not _PRINTABLE.fullmatch(url) or "\\" in url:  # parsers differ on what these mean
            raise ValueError
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise _bad_url("is not a URL in ASCII without spaces") from None
    schemes = ("https", "http") if allow_private else ("https",)
    if parts.scheme not in schemes or not parts.hostname:
        raise _bad_url(f"must begin with {' or '.join(f'{scheme}://' for scheme in schemes)}")
    if parts.username is not None or parts.password is not None:
        raise _bad_url("must hold no credentials")
    try:
        await resolve(parts.hostname, port or 443, allow_private)
    except (OSError, UnicodeError):  # a part of the name may be too long or empty
        raise _bad_url(f"names {parts.hostname}, which has no address") from None
    except Refused as error:
        raise _bad_url(f"is refused: {error}") from None


async def resolve(host: str, port: int, allow_private: bool) -> str:
    """The first address of a host, if all of its addresses may be called.

    Raises:
        Refused: one of them is not public.
        OSError: it has none.
    """
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    addresses = [str(info[4][0]) for info in found]
    if not addresses:
        raise OSError(f"{host} has no address")
    if not allow_private:
        for address in addresses:
            if not _public(address):
                raise Refused(f"{host} is not in the public internet")
    return addresses[0]


def _public(address: str) -> bool:
    ip = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(ip, ipaddress.IPv6Address):
        inner = ip.ipv4_mapped or ip.sixtofour
        if inner is None:
            return ip.is_global and ip in _UNICAST
        ip = inner
    special = any(ip in network for network in _SPECIAL)
    return ip.is_global and not ip.is_multicast and not special


def _bad_url(what: str) -> ParamError:
    return ParamError(
        "url", f"url {what}", reason="WEBHOOK_URL_REFUSED",
        remedy="Give the https:// URL of a public server.",
    )  # fmt: skip
