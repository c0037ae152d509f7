"""``synctalk evaluate AVATAR DATASET --out DIR``."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from synctalk.dataset import SubjectDataset, replace_folder
from synctalk.errors import InputError
from synctalk.evaluation.protocol import measure_reconstruction
from synctalk.evaluation.report import INDEX, REPORT, write_report
from synctalk.progress import ProgressCallback, ignore_progress


@dataclass(frozen=True)
class EvaluationReport:
    """Where the report lies and what it says.

    Args:
        path: the folder.
        figures: content of ``report.json``; see :func:`synctalk.evaluation.report.figures`.
    """

    path: Path
    figures: Mapping[str, Any]

    @property
    def page(self) -> Path:
        """The HTML page."""
        return self.path / INDEX


def evaluate(
    avatar: str | os.PathLike[str],
    dataset: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    device: str = "auto",
    progress: ProgressCallback = ignore_progress,
) -> EvaluationReport:
    """Reconstruct the held-out frames of ``dataset`` and write the report folder ``out``.

    Args:
        avatar: folder of an AvatarBundle.
        dataset: folder of the SubjectDataset it was trained on.
        out: folder to write; appears when it is whole, replaces an older report.
        device: ``"auto"``, ``"cpu"`` or ``"cuda"``.
        progress: receives events of the stages ``evaluate source``, ``evaluate tracked`` and
            ``evaluate audio``.

    Raises:
        BundleError: the avatar is damaged, of another version or of other footage.
        DatasetError: the dataset is incomplete or of another version.
        InputError: ``out`` exists and holds something else.
        MissingModelError: the face tracker's networks are not on this machine.
    """
    from synctalk.avatar import Avatar  # needs the native rasteriser, which reading reports doesn't
    from synctalk.face import make_tracker

    final = Path(out)
    _check_target(final)
    person, data = Avatar.load(avatar, device), SubjectDataset.open(dataset)
    tracker = make_tracker("mesh", device)
    partial = final.with_name(final.name + ".writing")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        result = measure_reconstruction(person, data, partial, tracker=tracker, progress=progress)
        write_report(result, partial)
        if final.is_dir() and not any(final.iterdir()):
            final.rmdir()
        replace_folder(partial, final, REPORT)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return EvaluationReport(final, json.loads((final / REPORT).read_text()))


def _check_target(final: Path) -> None:
    """Refuse a folder of other things before the work, not after it."""
    taken = final.is_file() or (final.is_dir() and any(final.iterdir()))
    if taken and not (final / REPORT).is_file():
        raise InputError(
            f"{final} exists and holds no evaluation report.",
            reason="OUTPUT_EXISTS",
            remedy="Choose another --out folder.",
        )
