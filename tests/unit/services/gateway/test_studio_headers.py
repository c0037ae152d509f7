"""Whom the studio's page may talk to."""

from __future__ import annotations

import pytest
from pydantic import SecretStr

from services.common.settings import RpcSettings, StorageSettings
from services.gateway.live.settings import LiveSettings
from services.gateway.oidc import OidcSettings, StudioClient
from services.gateway.settings import GatewaySettings
from services.gateway.studio import page_headers


def partners(
    live_url: str = "", public_url: str | None = None, oidc: OidcSettings | None = None
) -> list[str]:
    settings = GatewaySettings(
        storage=StorageSettings.model_validate(
            {
                "url": "http://minio:9000",
                "access_key": "access-key-of-tests",
                "secret_key": "secret",
                "public_url": public_url,
            }
        ),
        redis_url=SecretStr("redis://:secret@localhost:6379/0"),
        rpc=RpcSettings(token=SecretStr("token")),
        preprocess_target="preprocess:50051",
        trainer_target="trainer:50051",
        live=LiveSettings(url=live_url),
        oidc=oidc,
    )
    policy = page_headers(settings)["Content-Security-Policy"]
    return next(part.split()[1:] for part in policy.split("; ") if part.startswith("connect-src"))


@pytest.mark.parametrize(
    ("public_url", "store"),
    [(None, "http://minio:9000"), ("https://media.example", "https://media.example")],
)
def test_the_page_talks_to_the_store_as_browsers_reach_it(
    public_url: str | None, store: str
) -> None:
    assert partners(public_url=public_url) == ["'self'", store]


def test_the_page_talks_to_every_replica_that_may_have_its_session() -> None:
    assert partners("https://gateway-0.live.example")[2:] == [
        "https://*.live.example",
        "wss://*.live.example",
    ]


def test_a_replica_without_a_domain_opens_nothing_more() -> None:
    assert len(partners("http://localhost:8080")) == 2


def test_the_page_gets_tokens_where_people_sign_in_and_asks_nothing_else_there() -> None:
    client = StudioClient(
        client_id="studio",
        authorization_url="https://id.example/authorize",
        token_url="https://tokens.example/oauth/token",
    )
    oidc = OidcSettings(
        issuer="https://id.example/", audience="avatar", jwks_url="https://id.example/jwks"
    )
    assert len(partners(oidc=oidc)) == 2
    found = partners(oidc=oidc.model_copy(update={"studio": client}))
    assert found[2:] == ["https://tokens.example"]
