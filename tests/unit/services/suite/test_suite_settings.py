"""The settings file of a suite on one machine."""

from __future__ import annotations

import socket
import stat
from pathlib import Path

import pytest

from services.common.errors import ConfigurationError
from services.suite.settings import FILE, SuiteSettings, make, read

_NAMES = ("AVATAR_STORAGE__URL", "AVATAR_STORAGE__ACCESS_KEY", "AVATAR_STORAGE__SECRET_KEY")


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in _NAMES:
        monkeypatch.delenv(name, raising=False)


def saved(folder: Path, **changes: str) -> SuiteSettings:
    settings = make(folder).with_changes(changes)
    settings.save()
    return settings


def test_what_is_saved_is_read_again_and_is_its_owners_alone(tmp_path: Path) -> None:
    settings = saved(tmp_path)
    assert read(tmp_path) == settings
    assert stat.S_IMODE((tmp_path / FILE).stat().st_mode) == 0o600


def test_two_suites_share_no_secret(tmp_path: Path) -> None:
    one, other = make(tmp_path), make(tmp_path)
    for name in ("AVATAR_RPC__TOKEN", "AVATAR_BOOTSTRAP_KEY", "AVATAR_REDIS_URL", _NAMES[2]):
        assert one.variables[name] != other.variables[name]


def test_secrets_are_not_shown_by_accident(tmp_path: Path) -> None:
    settings = make(tmp_path)
    shown = repr(settings) + repr(settings.redis) + repr(settings.s3)
    assert settings.bootstrap_key not in shown
    assert settings.redis.password not in shown
    assert settings.s3 is not None
    assert settings.s3.secret_key not in shown


def test_what_a_person_adds_stays(tmp_path: Path) -> None:
    saved(tmp_path)
    path = tmp_path / FILE
    path.write_text(path.read_text() + "# mine\nAVATAR_LOG_LEVEL=debug\n")
    settings = read(tmp_path)
    assert settings is not None
    settings.with_changes({"AVATAR_KEY": "avk_1", "SUITE_WORKERS": "3"}).save()
    text = path.read_text()
    assert "# mine\nAVATAR_LOG_LEVEL=debug\n" in text
    assert text.count("AVATAR_KEY=") == 1
    again = read(tmp_path)
    assert again is not None
    assert (again.key, again.workers) == ("avk_1", 3)


def test_a_port_that_was_taken_meanwhile_is_replaced_and_the_password_kept(tmp_path: Path) -> None:
    settings = make(tmp_path)
    with socket.socket() as intruder:
        intruder.bind(("127.0.0.1", settings.redis.port))
        intruder.listen()
        moved = settings.with_free_ports()
    assert moved.redis.port != settings.redis.port
    assert moved.redis.password == settings.redis.password
    assert moved.s3 == settings.s3


def test_a_given_object_store_is_taken_from_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(_NAMES[0], "https://s3.example:9000")
    with pytest.raises(ConfigurationError, match="SECRET_KEY"):
        make(tmp_path)
    monkeypatch.setenv(_NAMES[1], "somebody")
    monkeypatch.setenv(_NAMES[2], "a secret")
    settings = make(tmp_path)
    assert settings.s3 is None
    assert settings.variables[_NAMES[0]] == "https://s3.example:9000"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("SUITE_WORKERS", "many"),
        ("SUITE_WORKERS", "999"),
        ("SUITE_RENDERER", "rayon"),
        ("AVATAR_URL", "http://here"),
    ],
)
def test_a_wrong_line_is_named_without_its_value(tmp_path: Path, name: str, value: str) -> None:
    settings = saved(tmp_path, **{name: value})
    with pytest.raises(ConfigurationError, match=name) as caught:
        settings.check()
    assert value not in caught.value.message.replace(name, "")
