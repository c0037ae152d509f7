"""Webhook URLs that lead into this network, by any spelling; and names that change their mind."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

import httpcore
import httpx
import pytest
from attack_answers import refused
from attack_people import Person

from services.gateway import delivery
from services.gateway.delivery import Refused, _PublicOnly

URLS = [
    "https://127.0.0.1/", "https://localhost/", "https://LOCALHOST./", "https://2130706433/",
    "https://0x7f000001/", "https://0177.0.0.1/", "https://127.1/", "https://0/",
    "https://0.0.0.0/", "https://10.0.0.8/", "https://172.16.0.1/", "https://192.168.0.1/",
    "https://100.100.100.200/", "https://169.254.169.254/latest/meta-data/",
    "https://2852039166/latest/meta-data/", "https://0xa9.0xfe.0xa9.0xfe/",
    "https://192.0.0.192/", "https://168.63.129.16/", "https://192.88.99.1/",
    "https://198.18.0.1/", "https://224.0.0.1/", "https://255.255.255.255/",
    "https://[::1]/", "https://[::]/", "https://[::127.0.0.1]/", "https://[::ffff:127.0.0.1]/",
    "https://[::ffff:7f00:1]/", "https://[::ffff:169.254.169.254]/", "https://[fe80::1]/",
    "https://[fe80::1%25lo]/", "https://[fc00::1]/", "https://[fd00:ec2::254]/",
    "https://[fec0::1]/", "https://[64:ff9b::7f00:1]/", "https://[64:ff9b:1::7f00:1]/",
    "https://[2002:7f00:1::]/", "https://[2001:0:7f00:1::]/", "https://[ff02::1]/",
    "http://93.184.216.34/", "ftp://93.184.216.34/", "file:///etc/passwd", "gopher://127.0.0.1:6379/",
    "redis://127.0.0.1/", "//93.184.216.34/", "https:///path", "https://", "", " ", "javascript:1",
    "https://user:x@93.184.216.34/", "https://93.184.216.34@127.0.0.1/",
    "https://93.184.216.34\\@127.0.0.1/", "https://127.0.0.1\\.example.com/",
    "https://93.184.216.34:99999/", "https://93.184.216.34:x/", "https://[::1/",
    "https://93.184.216.34/\r\nX-Injected: 1", "https://93.184.216.34/\tx", "https://a..b/",
    "https://" + "a" * 64 + "/", "https://" + "a." * 200 + "/", "https://\x00/", "https://ⓛocalhost/",
    "https://１２７.0.0.1/", "https://93.184.216.34 .example/",
]  # fmt: skip


@pytest.mark.parametrize("url", URLS, ids=lambda url: ascii(url)[:60])
def test_a_url_that_leads_elsewhere_is_refused(
    url: str, stranger: Person, web: httpx.Client
) -> None:
    answer = web.post(
        "/v1/webhooks", json={"url": url, "events": ["avatar.ready"]},
        headers={"Authorization": f"Bearer {stranger.tenant.key}"},
    )  # fmt: skip
    error = refused(answer, 422)
    assert error["code"] == "WEBHOOK_URL_REFUSED"
    assert error["param"] == "url"


class Resolver:
    """Answers each question for a name with the next of its answers."""

    def __init__(self, *answers: list[str]) -> None:
        self.answers = list(answers)

    async def getaddrinfo(self, host: str, port: int, **_: Any) -> list[Any]:
        found = self.answers.pop(0)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (each, port)) for each in found]


class Inner(httpcore.AsyncNetworkBackend):
    """Notes where a connection would have gone."""

    def __init__(self) -> None:
        self.gone: list[str] = []

    async def connect_tcp(self, host: str, port: int, *_: Any, **__: Any) -> Any:
        self.gone.append(host)


def connect(monkeypatch: pytest.MonkeyPatch, *answers: list[str]) -> list[str]:
    """Connect to a name once; where that went."""
    backend, inner = _PublicOnly(allow_private=False), Inner()
    backend._inner = inner

    async def go() -> None:
        resolver = Resolver(*answers)
        monkeypatch.setattr(delivery.asyncio, "get_running_loop", lambda: resolver, raising=True)
        await backend.connect_tcp("rebinding.example", 443)

    asyncio.run(go())
    return inner.gone


def test_a_name_is_resolved_once_and_its_address_called(monkeypatch: pytest.MonkeyPatch) -> None:
    """A second look-up, to connect, would be answered with a private address."""
    assert connect(monkeypatch, ["93.184.216.34"], ["127.0.0.1"]) == ["93.184.216.34"]


def test_a_name_that_has_become_private_is_not_called(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(Refused):
        connect(monkeypatch, ["127.0.0.1"])


def test_one_private_address_among_public_ones_is_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(Refused):
        connect(monkeypatch, ["93.184.216.34", "10.0.0.1"])
