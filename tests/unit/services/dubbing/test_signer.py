"""The signer is asked at start; a dub waits for it, and its words stay in the operator's log."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
import structlog
from openssl_ca import Signer, make_signer
from prometheus_client import REGISTRY
from pydantic import ValidationError

from services.common.errors import ConfigurationError, Unavailable
from services.common.provenance import ProvenanceSettings
from services.dubbing import signing
from services.dubbing.signer import check_signer, count_failure
from synctalk.provenance import Claim, provenance_from_environment

PIN = "271828"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Signer:
    return make_signer(tmp_path_factory.mktemp("ca"))


def settings(made: Signer, *command: str, timeout_s: float = 20) -> ProvenanceSettings:
    return ProvenanceSettings(chain=made.chain, sign_command=command, sign_timeout_s=timeout_s)


def test_a_signer_that_signs_lets_the_worker_start(made: Signer) -> None:
    check_signer(settings(made, *made.command))
    check_signer(ProvenanceSettings(chain=made.chain, private_key=made.key))


@pytest.mark.parametrize(
    ("command", "reason"),
    [
        (["sh", "-c", "echo no such key >&2; exit 1"], "SIGNER_FAILED"),
        (["sleep", "600"], "SIGNER_TIMEOUT"),
    ],
)
def test_one_that_does_not_stops_it(made: Signer, command: list[str], reason: str) -> None:
    with pytest.raises(ConfigurationError) as error:
        check_signer(settings(made, *command, timeout_s=0.5))
    assert error.value.reason == reason
    assert error.value.remedy


def test_the_key_of_another_certificate_stops_it(made: Signer, tmp_path: Path) -> None:
    other = make_signer(tmp_path / "other")
    with pytest.raises(ConfigurationError) as error:
        check_signer(settings(made, *other.command))
    assert error.value.reason == "SIGNER_MISMATCH"


def test_settings_are_checked_before_anything_is_signed(made: Signer) -> None:
    with pytest.raises(ValidationError, match="there is no program kms-sign"):
        settings(made, "kms-sign", "--pin", PIN)
    with pytest.raises(ValidationError, match="either private_key or sign_command"):
        ProvenanceSettings(chain=made.chain, private_key=made.key, sign_command=("sh",))
    with pytest.raises(ValidationError, match="either private_key or sign_command"):
        ProvenanceSettings(sign_command=("sh",))


def test_arguments_are_not_printed_and_reach_the_process_that_signs(made: Signer) -> None:
    ours = settings(made, "sh", "--pin", PIN)
    assert ours.model_dump(mode="json")["sign_command"] == ["sh", "…"]
    told = provenance_from_environment(ours.environment())
    assert told.sign_command == ("sh", "--pin", PIN)


def test_a_signer_that_stays_away_is_tried_again_later_and_only_the_log_says_why(
    made: Signer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(signing, "_WAITS_S", (0.0, 0.0))
    video, tries = tmp_path / "video.mp4", tmp_path / "tries"
    video.write_bytes((Path(__file__).parents[4] / "samples/portrait.mp4").read_bytes())
    before = video.read_bytes()
    script = f"echo try >> {tries}; echo arn:aws:kms:eu:1234 is disabled >&2; exit 254"
    signer = provenance_from_environment(settings(made, "sh", "-c", script).environment()).signer()
    claim = Claim("video.mp4", 0, "ab" * 32)
    with structlog.testing.capture_logs() as logged, pytest.raises(Unavailable) as error:
        asyncio.run(signing._patiently(video, claim, signer))
    assert error.value.reason == "SIGNER_FAILED"
    assert "arn" not in str(error.value)
    assert tries.read_text().count("try") == len(logged) == 3
    assert all("arn:aws:kms:eu:1234 is disabled" in line["problem"] for line in logged)
    assert video.read_bytes() == before


def test_attempts_that_the_signer_has_failed_are_counted() -> None:
    def count() -> float:
        labels = {"reason": "SIGNER_TIMEOUT"}
        return REGISTRY.get_sample_value("synctalk_signing_failures_total", labels) or 0.0

    before = count()
    count_failure("SIGNER_TIMEOUT")
    count_failure("CHILD_DIED")
    assert count() == before + 1
