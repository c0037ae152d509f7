"""A blendshape track of one's own: a CSV file of a capture app, or arrays in an npz."""

from __future__ import annotations

import csv
import os
import zipfile
import zlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from synctalk.errors import InputError
from synctalk.expression.prosody import FloatArray
from synctalk.face import ARKIT_NAMES

_BY_NAME = {name.lower(): index for index, name in enumerate(ARKIT_NAMES)}


def read_blendshapes(path: str | os.PathLike[str], n_frames: int) -> FloatArray:
    """[n_frames, 52] blendshapes in ``ARKIT_NAMES``' order, clipped to [0, 1].

    A CSV has a header and one row for each frame at 25 fps; columns are found by ARKit's names
    in any case, others are ignored, absent ones are 0. An npz holds ``blendshapes`` [T, 52] in
    ``ARKIT_NAMES``' order, or [T, n] with ``names`` [n]. A track that ends early keeps its last
    row.

    Raises:
        InputError: no such file, or not such a track.
    """
    file = Path(path)
    if not file.is_file():
        raise InputError(
            f"Expression {os.fspath(path)!r} is neither a file nor a known choice.",
            reason="EXPRESSION_NOT_FOUND",
            remedy="Choose auto, source, natural, neutral, calm, emphatic, or a .csv or .npz file.",
        )
    try:
        values, names = _read_npz(file) if file.suffix.lower() == ".npz" else _read_csv(file)
        return _in_order(values, names, n_frames)
    except (
        ValueError,
        LookupError,
        EOFError,
        OSError,
        MemoryError,  # of a shape that no track has
        NotImplementedError,  # of a zip of some later kind
        zipfile.BadZipFile,
        zlib.error,
        csv.Error,
    ) as error:
        raise InputError(
            f"{file}: not a blendshape track ({error}).",
            reason="EXPRESSION_FILE",
            remedy="Give a CSV with ARKit's names as header, or an npz with blendshapes [T, 52].",
        ) from error


def _read_csv(file: Path) -> tuple[NDArray[np.float64], list[str]]:
    with file.open(newline="", encoding="utf-8-sig") as stream:
        rows = csv.reader(stream)
        header = [name.strip() for name in next(rows, [])]
        known = [i for i, name in enumerate(header) if name.lower() in _BY_NAME]
        values = [[float(row[i]) for i in known] for row in rows if row and any(row)]
    return np.array(values, ndmin=2), [header[i] for i in known]


def _read_npz(file: Path) -> tuple[NDArray[np.float64], list[str]]:
    with np.load(file, allow_pickle=False) as arrays:
        values = np.asarray(arrays["blendshapes"], np.float64)
        names = [str(name) for name in arrays["names"]] if "names" in arrays else list(ARKIT_NAMES)
    return values, names


def _in_order(values: NDArray[np.float64], names: list[str], n_frames: int) -> FloatArray:
    if values.ndim != 2 or not values.size or values.shape[1] != len(names):
        raise ValueError(f"{values.shape} values under {len(names)} ARKit names")
    if not np.isfinite(values).all():
        raise ValueError("a value is not finite")
    rows = np.zeros((max(n_frames, len(values)), len(ARKIT_NAMES)), np.float32)
    columns = [_BY_NAME[name.lower()] for name in names if name.lower() in _BY_NAME]
    chosen = values[:, [i for i, name in enumerate(names) if name.lower() in _BY_NAME]]
    rows[: len(values), columns] = np.clip(chosen, 0, 1)
    rows[len(values) :, columns] = np.clip(chosen[-1], 0, 1)
    return rows[:n_frames]
