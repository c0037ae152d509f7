"""What a tenant may have and do: the installation's settings, or what its operator has said."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import lru_cache

from services.gateway.settings import GatewaySettings


@dataclass(frozen=True)
class Limits:
    """Of one tenant."""

    avatars: int
    open_dubs: int
    webhooks: int
    sessions: int
    upload_bytes_per_day: int
    rate_per_s: float
    rate_burst: int


NAMES = tuple(field.name for field in fields(Limits))


def limits_of(settings: GatewaySettings, overrides: Mapping[str, str]) -> Limits:
    """The installation's with a tenant's overrides, as Redis has them."""
    return _limits(_defaults(settings), tuple(sorted(overrides.items())))


def limits_key(tenant: str) -> str:
    """A hash with the tenant's overrides."""
    return f"gw:{tenant}:limits"


def _defaults(settings: GatewaySettings) -> Limits:
    return Limits(
        settings.quota_avatars, settings.quota_open_dubs, settings.quota_webhooks,
        settings.live.quota_sessions, settings.quota_upload_bytes_day,
        settings.rate_per_s, settings.rate_burst,
    )  # fmt: skip


@lru_cache(maxsize=1024)
def _limits(defaults: Limits, overrides: tuple[tuple[str, str], ...]) -> Limits:
    said = dict(overrides)
    return Limits(
        *(
            type(value)(float(said[name])) if name in said else value
            for name, value in ((name, getattr(defaults, name)) for name in NAMES)
        )
    )
