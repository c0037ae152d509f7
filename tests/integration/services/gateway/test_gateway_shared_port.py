"""Several gateways on one port of one machine."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import httpx
from gateway_suite import House, Tenant

from services.common.local_server import free_port


def test_two_gateways_share_a_port_and_the_work(house: House, tenant: Tenant) -> None:
    port = str(free_port())
    with (
        house.another_gateway(GATEWAY_PORT=port, GATEWAY_SHARE_PORT=True) as url,
        house.another_gateway(GATEWAY_PORT=port, GATEWAY_SHARE_PORT=True) as same,
    ):
        assert url == same
        both = house.suite.running[-2:]

        def ask(_: int) -> int:  # by a connection of its own, which the kernel gives to one
            answer = httpx.get(f"{url}/v1/me", headers=dict(tenant.http.headers), verify=False)
            return answer.status_code

        with ThreadPoolExecutor(8) as pool:
            assert set(pool.map(ask, range(64))) == {200}
        name = "synctalk_http_request_seconds_count"
        assert all(each.metric(name, route="/v1/me") > 0 for each in both)
