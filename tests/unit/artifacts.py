"""Tiny artifacts whose parts hold just enough to be read back."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from synctalk import dataset as ds
from synctalk.bundle import BundleManifest, CurvePoint
from synctalk.dataset import Crop, DatasetManifest, SubjectDataset, Tracks

N = 33
SHA = "cd" * 32


def tracks() -> Tracks:
    rng = np.random.default_rng(0)
    shapes = {
        "landmarks68": (N, 68, 2), "mesh": (N, 478, 3), "score": (N,), "blendshapes": (N, 52),
        "R": (N, 3, 3), "t": (N, 3), "K": (3, 3), "vertices": (468, 3),
    }  # fmt: skip
    arrays = {name: rng.random(shape, np.float32) for name, shape in shapes.items()}
    return Tracks(valid=rng.random(N) > 0.2, **arrays)


def manifest(**changed: object) -> DatasetManifest:
    facts = {
        "source_name": "me.mp4", "source_sha256": SHA, "source_width": 96, "source_height": 64,
        "crop": Crop(8, 0, 64), "size": 64, "n_frames": N, "cuts": (7, 20), "tracker": "mesh",
        "timings_s": {"track": 1.5},
    }  # fmt: skip
    return DatasetManifest(**{**facts, **changed})  # type: ignore[arg-type]


def working_folder(path: Path) -> Path:
    """What preprocessing leaves just before it publishes; most parts hold only their name."""
    path.mkdir(parents=True)
    for name in ds.PARTS:
        (path / name).write_bytes(name.encode() * 50)
    tracks().save(path / ds.TRACKS)
    return path


def dataset(path: Path) -> SubjectDataset:
    return ds.publish(working_folder(path.with_name("work")), path, manifest())


def bundle_manifest(**changed: object) -> BundleManifest:
    facts = {
        "subject": "me.mp4", "source_sha256": SHA, "crop": Crop(8, 0, 64), "size": 64,
        "source_width": 96, "source_height": 64, "n_frames": N, "cuts": (7, 20),
        "window": (48, 64), "settings": {"preset": "demo"}, "metrics": {"psnr": 36.5},
        "training_curve": (CurvePoint(1.0, 10, 28.0),), "timings_s": {"train": 9.0},
        "parents": ("older",),
    }  # fmt: skip
    return BundleManifest(**{**facts, **changed})  # type: ignore[arg-type]


def flip_a_byte(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(bytes(data))
