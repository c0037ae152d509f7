"""Settings: what is wrong is named, what is secret is not shown."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from services.common.errors import ConfigurationError
from services.common.settings import ServiceSettings, load, printable

GOOD = {
    "AVATAR_STORAGE__URL": "http://127.0.0.1:9000",
    "AVATAR_STORAGE__ACCESS_KEY": "access-key-1",
    "AVATAR_STORAGE__SECRET_KEY": "secret-key-1",
    "AVATAR_REDIS_URL": "redis://:redis-password@127.0.0.1:6379/0",
    "AVATAR_RPC__TOKEN": "token-1",
}
SECRETS = ("access-key-1", "secret-key-1", "redis-password", "token-1")


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    for name, value in GOOD.items():
        monkeypatch.setenv(name, value)
    return monkeypatch


def problem() -> str:
    with pytest.raises(ConfigurationError) as caught:
        load(ServiceSettings)
    assert caught.value.reason == "INVALID_SETTINGS"
    assert "pydantic" not in str(caught.value)
    return caught.value.message


def test_the_environment_is_read(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("AVATAR_RPC__PORT", "5000")
    settings = load(ServiceSettings)
    assert settings.rpc.port == 5000
    assert settings.storage.bucket == "avatar"
    assert settings.storage.secret_key.get_secret_value() == "secret-key-1"


def test_every_missing_variable_is_named_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in GOOD:
        monkeypatch.delenv(name, raising=False)
    message = problem()
    for name in ("AVATAR_STORAGE", "AVATAR_REDIS_URL", "AVATAR_RPC"):
        assert f"{name}: field required" in message
    monkeypatch.setenv("AVATAR_STORAGE__BUCKET", "b")
    assert "AVATAR_STORAGE__SECRET_KEY: field required" in problem()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("AVATAR_STORAGE__URL", "127.0.0.1:9000"),
        ("AVATAR_STORAGE__URL", "http://127.0.0.1:9000/path"),
        ("AVATAR_STORAGE__BUCKET", "Not A Bucket"),
        ("AVATAR_REDIS_URL", "localhost"),
        ("AVATAR_RPC__PORT", "70000"),
        ("AVATAR_RPC__DRAIN_S", "-1"),
        ("AVATAR_LOG_LEVEL", "loud"),
        ("AVATAR_RPC__PROT", "5000"),
    ],
)
def test_a_wrong_value_is_named_and_not_repeated(
    environment: pytest.MonkeyPatch, name: str, value: str
) -> None:
    environment.setenv(name, value)
    message = problem()
    assert f"{name}: " in message
    assert not any(secret in message for secret in SECRETS)


def test_a_wrong_secret_is_not_shown(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("AVATAR_REDIS_URL", "http://:hunter2@host")
    assert "hunter2" not in problem()


def test_a_missing_certificate_is_named(environment: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for part in ("CERTIFICATE", "KEY", "AUTHORITY"):
        environment.setenv(f"AVATAR_RPC__TLS__{part}", str(tmp_path / part))
    assert f"{tmp_path}/certificate is not a file" in problem()


def test_printed_settings_hold_no_secret(environment: pytest.MonkeyPatch) -> None:
    text = json.dumps(printable(load(ServiceSettings))) + repr(load(ServiceSettings))
    assert "127.0.0.1:9000" in text
    assert not any(secret in text for secret in SECRETS)


def test_a_file_may_hold_them_and_the_environment_wins(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in GOOD:
        monkeypatch.delenv(name, raising=False)
    path = tmp_path / "avatar.env"
    path.write_text("".join(f"{name}={value}\n" for name, value in GOOD.items()))
    monkeypatch.setenv("AVATAR_ENV_FILE", str(path))
    monkeypatch.setenv("AVATAR_STORAGE__BUCKET", "other")
    assert load(ServiceSettings).storage.bucket == "other"
    path.unlink()
    assert "not a file" in problem()
