"""A key that is not on this machine signs by a command; here that is OpenSSL."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from cryptography.hazmat.primitives.asymmetric import utils
from openssl_ca import SIGNER, Signer, make_signer

from synctalk.errors import BackendError, InputError
from synctalk.media import VideoWriter
from synctalk.media.manifest import read_manifest
from synctalk.provenance import (
    Claim,
    ManifestSigner,
    Provenance,
    provenance_from_environment,
    sign_file,
    verify,
)
from synctalk.provenance.signers import command_signer

CLAIM = Claim("dub.mp4", 0, "ab" * 32, "consent-1")
PREFIX = "AVATAR_PROVENANCE__"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Signer:
    return make_signer(tmp_path_factory.mktemp("ca"))


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("video") / "plain.mp4"
    with VideoWriter(path, 64, 64) as writer:
        for grey in range(0, 200, 40):
            writer.write(np.full((64, 64, 3), grey, np.uint8))
    return path


def signer(made: Signer, *command: str, timeout_s: float = 20) -> ManifestSigner:
    return command_signer(made.chain, command or made.command, "es256", timeout_s)


def refused(made: Signer, command: Sequence[str], timeout_s: float = 20) -> BackendError:
    with pytest.raises(BackendError) as error:
        signer(made, *command, timeout_s=timeout_s).check()
    return error.value


def ours(made: Signer, folder: Path, algorithm: str = "es256") -> Provenance:
    said = {
        "CHAIN": str(made.chain),
        "SIGN_COMMAND": json.dumps(made.command),
        "SIGN_ALGORITHM": algorithm,
        "TRUSTED": str(made.root),
        "FOLDER": str(folder / "none"),
    }
    return provenance_from_environment({PREFIX + name: value for name, value in said.items()})


def test_a_video_signed_by_a_command_verifies_as_signed_by_its_authority(
    made: Signer, video: Path, tmp_path: Path
) -> None:
    installation = ours(made, tmp_path)
    out = tmp_path / "signed.mp4"
    sign_file(video, out, CLAIM, installation.signer())
    found = verify(out, installation)
    assert (found.verdict, found.signature) == ("signed", "trusted")
    assert found.signer == f"{SIGNER}: Signer"
    assert not found.development
    stranger = make_signer(tmp_path / "other").root
    assert state(out, stranger.read_text()) == "Valid"  # and not Trusted


@pytest.mark.parametrize("algorithm", ["es384", "es512", "ps256", "ps512", "ed25519"])
def test_other_algorithms_sign_as_well(algorithm: str, video: Path, tmp_path: Path) -> None:
    made = make_signer(tmp_path / "ca", algorithm)
    installation = ours(made, tmp_path, algorithm)
    sign_file(video, tmp_path / "signed.mp4", CLAIM, installation.signer())
    assert state(tmp_path / "signed.mp4", made.root.read_text()) == "Trusted"


def state(path: Path, trusted_pem: str) -> str:
    """Of the validation of a file's manifest."""
    text = read_manifest(path, trusted_pem)
    assert text is not None
    found: str = json.loads(text)["validation_state"]
    return found


def test_ecdsa_may_come_in_der_and_as_r_and_s(made: Signer) -> None:
    der = signer(made)

    def plain(data: bytes) -> bytes:
        r, s = utils.decode_dss_signature(der.sign(data))
        return r.to_bytes(32, "big") + s.to_bytes(32, "big")

    assert len(der.signature(b"bytes")) == 64
    assert len(ManifestSigner(der.chain_pem, plain).signature(b"bytes")) == 64


def test_the_key_of_another_certificate_is_noticed(
    made: Signer, video: Path, tmp_path: Path
) -> None:
    """At start, and at each file: a key may be rotated while a service runs."""
    other = make_signer(tmp_path / "other")
    error = refused(made, other.command)
    assert error.reason == "SIGNER_MISMATCH"
    assert "CN=Signer" in error.message
    with pytest.raises(BackendError) as caught:
        sign_file(video, tmp_path / "out.mp4", CLAIM, signer(made, *other.command))
    assert caught.value.reason == "SIGNER_MISMATCH"
    assert [path.name for path in tmp_path.iterdir()] == ["other"]


def test_a_key_in_a_file_that_is_not_the_certificate_s_is_noticed(
    made: Signer, tmp_path: Path
) -> None:
    other = make_signer(tmp_path / "other")
    with pytest.raises(BackendError) as error:
        Provenance(chain=made.chain, private_key=other.key).signer().check()
    assert error.value.reason == "SIGNER_MISMATCH"


def test_an_algorithm_that_is_not_the_key_s_is_noticed(made: Signer) -> None:
    with pytest.raises(BackendError, match="not one for ps256") as error:
        command_signer(made.chain, made.command, "ps256", 20).check()
    assert error.value.reason == "SIGNER_MISMATCH"


def test_a_command_that_hangs_is_killed(made: Signer) -> None:
    error = refused(made, ["sleep", "600"], timeout_s=0.2)
    assert error.reason == "SIGNER_TIMEOUT"
    assert "0.2 s" in error.message


def test_a_failing_command_is_quoted_at_its_end_and_its_arguments_are_not(made: Signer) -> None:
    script = "yes KMS | head -1000 >&2; echo 'the KMS is\naway' >&2; exit 7"
    error = refused(made, ["sh", "-c", script, "--pin", "271828"])
    assert error.reason == "SIGNER_FAILED"
    assert error.message.startswith("sh: ended with status 7: …")
    assert error.message.endswith("KMS the KMS is away")
    assert len(error.message) < 400
    assert "271828" not in str(error)


def test_a_command_that_is_not_there_is_named(made: Signer) -> None:
    error = refused(made, ["/nowhere/kms-sign", "--pin", "271828"])
    assert error.reason == "SIGNER_MISSING"
    assert error.message.startswith("/nowhere/kms-sign: ")
    assert "271828" not in str(error)


@pytest.mark.parametrize("script", ["exec openssl dgst -sha256 -sign {} | base64", "true"])
def test_what_is_no_signature_is_told_from_a_wrong_one(made: Signer, script: str) -> None:
    error = refused(made, ["sh", "-c", script.format(made.key)])
    assert error.reason == "SIGNER_OUTPUT"
    assert "64 (r and s) or DER" in error.message


def test_the_command_is_told_none_of_our_secrets(
    made: Signer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AVATAR_STORAGE__SECRET_KEY", "of the object store")
    monkeypatch.setenv("REDIS_PASSWORD", "of Redis")  # of the chart
    monkeypatch.setenv("KMS_REGION", "eu")
    script = f"env > {tmp_path}/env; exec openssl dgst -sha256 -sign {made.key}"
    signer(made, "sh", "-c", script).check()
    told = (tmp_path / "env").read_text()
    assert "KMS_REGION=eu" in told
    assert "AVATAR_" not in told
    assert "of Redis" not in told


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ({"SIGN_COMMAND": '["sh"]'}, "without its"),
        ({"CHAIN": "/c", "PRIVATE_KEY": "/k", "SIGN_COMMAND": '["sh"]'}, "two keys"),
        ({"CHAIN": "/c", "SIGN_COMMAND": "kms-sign --key 1"}, "no JSON list"),
        ({"CHAIN": "/c", "SIGN_COMMAND": "[1]"}, "no JSON list"),
        ({"SIGN_ALGORITHM": "rs256"}, "SIGN_ALGORITHM is 'rs256'"),
        ({"SIGN_TIMEOUT_S": "0"}, "SIGN_TIMEOUT_S is '0'"),
    ],
)
def test_settings_that_cannot_be_meant_are_refused(said: dict[str, str], words: str) -> None:
    with pytest.raises(InputError, match=words) as error:
        provenance_from_environment({PREFIX + name: value for name, value in said.items()})
    assert error.value.reason == "INVALID_SETTINGS"


def test_arguments_of_the_command_are_never_shown(made: Signer) -> None:
    ours = Provenance(chain=made.chain, sign_command=("kms-sign", "--pin", "271828"))
    assert "271828" not in repr(ours)
