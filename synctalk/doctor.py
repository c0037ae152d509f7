"""What this machine can do, what is missing, and how to get it.

Nothing here raises: a check that cannot be made is a finding. Imports that may fail or take long
stand inside the checks.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import os
import platform
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

MIN_PYTHON = (3, 11)
MIN_DISK_GIB = 2.0
MIN_MEMORY_GIB = 4.0
CODECS = ("libx264", "aac", "ffv1")


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at.

    Args:
        name: what, e.g. ``"native kernel"``.
        ok: it is there and works.
        detail: what was found.
        remedy: how to get it, empty when there is nothing to do.
        required: without it the main job does not run; otherwise it is an option.
    """

    name: str
    ok: bool
    detail: str
    remedy: str = ""
    required: bool = True


def diagnose() -> list[Finding]:
    """Look at everything that preprocessing, training and dubbing need, or could use."""
    return [_guarded(name, check) for name, check in _CHECKS]


def _guarded(name: str, check: Callable[[], Finding]) -> Finding:
    """A check that itself fails is a finding, not a traceback."""
    try:
        return check()
    except Exception as error:  # whatever a broken installation raises
        return Finding(name, False, f"{type(error).__name__}: {error}", "Run `make setup` again.")


def _python() -> Finding:
    wanted = ".".join(map(str, MIN_PYTHON))
    return Finding(
        "Python",
        sys.version_info >= MIN_PYTHON,
        f"{platform.python_version()} at {sys.executable}",
        "" if sys.version_info >= MIN_PYTHON else f"Install Python {wanted} or newer.",
    )


def _processor() -> Finding:
    from synctalk.evaluation.machine import describe_machine

    machine = describe_machine()
    remedy = "" if machine.cores >= 2 else "Training shares its work over cores: give it two."
    detail = f"{machine.cores} usable cores, {machine.cpu}"
    return Finding("processor", machine.cores >= 2, detail, remedy, required=False)


def _memory() -> Finding:
    from synctalk.evaluation.machine import describe_machine

    gib = describe_machine().memory_gib
    ok = gib >= MIN_MEMORY_GIB
    remedy = "" if ok else f"At least {MIN_MEMORY_GIB:g} GiB are advised."
    return Finding("memory", ok, f"{gib:.1f} GiB", remedy, required=False)


def _disk() -> Finding:
    gib = shutil.disk_usage(Path.cwd()).free / 2**30
    ok = gib >= MIN_DISK_GIB
    detail = f"{gib:.1f} GiB free in {Path.cwd()}"
    return Finding("disk", ok, detail, "" if ok else "Free some space or work in another folder.")


def _torch() -> Finding:
    import torch

    return Finding("torch", True, f"{torch.__version__}, {torch.get_num_threads()} threads")


def _cuda() -> Finding:
    import torch

    if torch.cuda.is_available():
        detail = ", ".join(torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count()))
        return Finding("CUDA", True, detail, required=False)
    built = torch.version.cuda
    detail = f"no device (torch is built for CUDA {built})" if built else "torch is a CPU build"
    remedy = "Not needed: everything runs on the CPU."
    return Finding("CUDA", False, detail, remedy, required=False)


def _gsplat() -> Finding:
    version = _version("gsplat")
    if version is None:
        remedy = "Only needed on CUDA: pip install -c constraints.txt 'synctalk[cuda]'."
        return Finding("gsplat", False, "not installed", remedy, required=False)
    return Finding("gsplat", True, f"{version}, used where there is CUDA", required=False)


def _kernel() -> Finding:
    variant = str(importlib.import_module("synctalk.render._kernel").variant())
    fast = variant != "baseline"
    remedy = "" if fast else "This processor has no AVX2: rendering works, several times slower."
    return Finding("native kernel", True, f"{variant} variant", remedy)


def _compiler() -> Finding:
    names = [os.environ.get("CXX", ""), "c++", "g++", "clang++"]
    found = next((path for path in map(shutil.which, filter(None, names)) if path), None)
    if found:
        return Finding("C++ compiler", True, found, required=False)
    remedy = "Needed only to build the kernel: install g++ or clang."
    return Finding("C++ compiler", False, "not found", remedy, required=False)


def _face_models() -> Finding:
    from synctalk.face.models import SETUP_REMEDY, WHEEL_FILES, find_model

    missing = [file.name for file in WHEEL_FILES if find_model(file.name) is None]
    if missing:
        return Finding("face models", False, f"missing: {', '.join(missing)}", SETUP_REMEDY)
    folder = (find_model(WHEEL_FILES[0].name) or Path()).parent
    return Finding("face models", True, f"{len(WHEEL_FILES)} files in {folder}")


def _optional_model(name: str, purpose: str) -> Callable[[], Finding]:
    def check() -> Finding:
        from synctalk.face.models import find_model

        path = find_model(name)
        if path:
            return Finding(name, True, str(path), required=False)
        remedy = f"Optional, {purpose}: put it into a folder named by SYNCTALK_MODELS."
        return Finding(name, False, "not found", remedy, required=False)

    return check


def _face_alignment() -> Finding:
    version = _version("face-alignment")
    if version is None:
        remedy = "Optional tracker: pip install --no-deps face-alignment==1.5.0."
        return Finding("face-alignment", False, "not installed", remedy, required=False)
    import torch

    weights = list((Path(torch.hub.get_dir()) / "checkpoints").glob("2DFAN4-*"))
    remedy = "" if weights else f"Its weights are downloaded to {torch.hub.get_dir()} at first use."
    detail = f"{version}, weights {'found' if weights else 'not found'}"
    return Finding("face-alignment", bool(weights), detail, remedy, required=False)


def _codecs() -> Finding:
    import av

    missing = [name for name in CODECS if not _has_encoder(name)]
    ffmpeg = ".".join(map(str, av.library_versions["libavcodec"]))
    if missing:
        detail = f"PyAV {av.__version__} lacks {', '.join(missing)}"
        return Finding("video codecs", False, detail, "Install PyAV's own wheel: pip install av.")
    return Finding(
        "video codecs", True, f"{', '.join(CODECS)} (PyAV {av.__version__}, libavcodec {ffmpeg})"
    )


def _has_encoder(name: str) -> bool:
    import av

    try:
        av.Codec(name, "w")
    except ValueError:  # UnknownCodecError
        return False
    return True


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


_CHECKS: tuple[tuple[str, Callable[[], Finding]], ...] = (
    ("Python", _python),
    ("processor", _processor),
    ("memory", _memory),
    ("disk", _disk),
    ("torch", _torch),
    ("native kernel", _kernel),
    ("C++ compiler", _compiler),
    ("face models", _face_models),
    ("video codecs", _codecs),
    ("CUDA", _cuda),
    ("gsplat", _gsplat),
    ("face_landmarker.task", _optional_model("face_landmarker.task", "52 learnt blendshapes")),
    ("hair_segmentation.tflite", _optional_model("hair_segmentation.tflite", "finer hair masks")),
    ("face-alignment", _face_alignment),
)
