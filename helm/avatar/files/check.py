"""``helm test``: whether the gateway is ready and every service behind it says that it is well."""

from __future__ import annotations

import os
import socket
import sys
import urllib.error
import urllib.request

from pydantic_settings import BaseSettings, SettingsConfigDict

from services.common.rpc.health import health
from services.common.settings import PREFIX, RpcSettings, load


class Settings(BaseSettings):
    """How services are called."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, env_nested_delimiter="__", frozen=True, extra="ignore"
    )

    rpc: RpcSettings


def main() -> int:
    """Say how each is; fail if one is not well."""
    settings = load(Settings).rpc
    answers = {"gateway": gateway(os.environ["CHECK_GATEWAY"])}
    for target in os.environ["CHECK_HEALTHY"].split():
        answers[target] = health(target, settings)
    for target in os.environ["CHECK_REACHABLE"].split():
        answers[target] = reach(target)
    for target, answer in answers.items():
        print(f"{target}: {answer}", flush=True)
    return 0 if set(answers.values()) <= {"SERVING"} else 1


def gateway(url: str) -> str:
    """SERVING, or what it lacks."""
    try:
        with urllib.request.urlopen(f"{url}/readyz", timeout=10):
            return "SERVING"
    except urllib.error.HTTPError as error:
        return error.read().decode()
    except OSError as error:
        return str(error)


def reach(target: str) -> str:
    """SERVING where something listens."""
    host, _, port = target.removeprefix("dns:///").rpartition(":")
    try:
        with socket.create_connection((host, int(port)), timeout=10):
            return "SERVING"
    except OSError as error:
        return str(error)


if __name__ == "__main__":
    sys.exit(main())
