"""SyncTalk++ re-implemented: a portrait video in, a talking avatar out.

This is the public API; everything else may change between releases. Four calls are the whole path,
and the command line is nothing but them::

    from synctalk import dub, evaluate, preprocess, train

    preprocess("me.mp4", "me.dataset")  # video -> SubjectDataset
    train("me.dataset", "me.avatar")  # dataset -> AvatarBundle
    dub("me.avatar", "speech.wav", "dubbed.mp4")  # any speech -> a video of the avatar saying it
    evaluate("me.avatar", "me.dataset", "report")  # quality on held-out frames, as an HTML page

Each takes ``progress=``, a callback that receives :class:`ProgressEvent` and may raise
:class:`Cancelled`; each raises a :class:`SyncTalkError`. Names are loaded at first use, so that
``import synctalk`` costs nothing.
"""

from __future__ import annotations

import ctypes
import importlib
import os
from typing import TYPE_CHECKING

# OpenMP's threads wait by spinning, which takes the cores from whoever has work to do: on two cores
# two trainings at once are several times faster where they sleep instead, and one alone is not
# slower (benchmarks/crowded.py). Read when torch is first loaded. The environment's own value wins.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

# OpenBLAS's threads spin too. NumPy's and SciPy's products are small here, and what is large has
# threads of its own. Read when NumPy is first loaded.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")


def _keep_freed_memory() -> None:
    """Let glibc keep what a freed image took, for the next one.

    It gives anything as large back to the kernel at once, which has to clear every page anew: half
    of the time of image operations, on a virtual machine. The environment's own values win.
    """
    largest_mapped, kept = (-3, 32 << 20), (-1, 256 << 20)  # M_MMAP_THRESHOLD, M_TRIM_THRESHOLD
    own = {"MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_", "GLIBC_TUNABLES"}
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None and not own & os.environ.keys():
        mallopt(*largest_mapped)
        mallopt(*kept)


_keep_freed_memory()

if TYPE_CHECKING:
    from synctalk.bundle import AvatarBundle
    from synctalk.dataset import SubjectDataset
    from synctalk.doctor import Finding, diagnose
    from synctalk.dubbing import DubResult, dub
    from synctalk.errors import (
        BackendError,
        BundleError,
        Cancelled,
        DatasetError,
        FootageError,
        InputError,
        MediaError,
        MissingModelError,
        SyncTalkError,
        TrainingError,
    )
    from synctalk.evaluation import EvaluationReport, evaluate
    from synctalk.inspect import Description, describe
    from synctalk.preprocessing import preprocess
    from synctalk.progress import ProgressCallback, ProgressEvent
    from synctalk.provenance import Provenance, Verification, verify
    from synctalk.training import train

__version__ = "0.1.0"

__all__ = [
    "AvatarBundle",
    "BackendError",
    "BundleError",
    "Cancelled",
    "DatasetError",
    "Description",
    "DubResult",
    "EvaluationReport",
    "Finding",
    "FootageError",
    "InputError",
    "MediaError",
    "MissingModelError",
    "ProgressCallback",
    "ProgressEvent",
    "Provenance",
    "SubjectDataset",
    "SyncTalkError",
    "TrainingError",
    "Verification",
    "__version__",
    "describe",
    "diagnose",
    "dub",
    "evaluate",
    "preprocess",
    "train",
    "verify",
]

_ERRORS = (
    "BackendError", "BundleError", "Cancelled", "DatasetError", "FootageError", "InputError",
    "MediaError", "MissingModelError", "SyncTalkError", "TrainingError",
)  # fmt: skip

_HOMES = {
    **dict.fromkeys(_ERRORS, "synctalk.errors"),
    "AvatarBundle": "synctalk.bundle",
    "Description": "synctalk.inspect",
    "DubResult": "synctalk.dubbing",
    "EvaluationReport": "synctalk.evaluation",
    "Finding": "synctalk.doctor",
    "ProgressCallback": "synctalk.progress",
    "ProgressEvent": "synctalk.progress",
    "Provenance": "synctalk.provenance",
    "SubjectDataset": "synctalk.dataset",
    "Verification": "synctalk.provenance",
    "describe": "synctalk.inspect",
    "diagnose": "synctalk.doctor",
    "dub": "synctalk.dubbing",
    "evaluate": "synctalk.evaluation",
    "preprocess": "synctalk.preprocessing",
    "train": "synctalk.training",
    "verify": "synctalk.provenance",
}

if not TYPE_CHECKING:  # a visible __getattr__ would hide misspelt names from the type checker

    def __getattr__(name: str) -> object:
        if name not in _HOMES:
            raise AttributeError(f"module 'synctalk' has no attribute {name!r}")
        value = getattr(importlib.import_module(_HOMES[name]), name)
        globals()[name] = value
        return value


def __dir__() -> list[str]:
    return __all__
