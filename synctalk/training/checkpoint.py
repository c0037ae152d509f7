"""A training run that can be left at any moment and taken up again to the same result.

The working folder ``AVATAR.training`` holds one checkpoint: tensors and a small JSON, each
replaced by a rename, the JSON last; what it names is whole.
"""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save_file
from torch import Tensor

from synctalk.bundle import CurvePoint
from synctalk.errors import TrainingError
from synctalk.tensor_files import checked

STATE = "state.json"


@dataclass(frozen=True)
class Checkpoint:
    """Where a run stands.

    Args:
        run_id: digest of the dataset and the settings; another run's checkpoint is refused.
        step: steps finished.
        seconds: training time so far.
        curve: held-out quality so far.
        tensors: of the model and the optimiser.
    """

    run_id: str
    step: int
    seconds: float
    curve: tuple[CurvePoint, ...]
    tensors: Mapping[str, Tensor]


def working_folder(out: Path) -> Path:
    """Where the run that will become ``out`` keeps its checkpoint."""
    return out.with_name(out.name + ".training")


def save_checkpoint(folder: Path, checkpoint: Checkpoint) -> None:
    """Write ``checkpoint``, replacing the last one when it is whole on disk."""
    folder.mkdir(parents=True, exist_ok=True)
    weights = folder / f"step_{checkpoint.step}.safetensors"
    temporary = weights.with_suffix(".writing")
    save_file({k: v.detach().cpu().contiguous() for k, v in checkpoint.tensors.items()}, temporary)
    temporary.rename(weights)
    state = {
        "run_id": checkpoint.run_id,
        "step": checkpoint.step,
        "seconds": checkpoint.seconds,
        "curve": [dataclasses.asdict(point) for point in checkpoint.curve],
        "weights": weights.name,
    }
    draft = folder / (STATE + ".writing")
    draft.write_text(json.dumps(state))
    os.replace(draft, folder / STATE)
    for old in folder.glob("step_*.safetensors"):
        if old != weights:
            old.unlink()


def load_checkpoint(folder: Path, run_id: str) -> Checkpoint | None:
    """The run's checkpoint, or None when there is none.

    Raises:
        TrainingError: the checkpoint is of another dataset or of other settings.
    """
    if not (folder / STATE).is_file():
        return None
    state: dict[str, Any] = json.loads((folder / STATE).read_text())
    if state["run_id"] != run_id:
        raise TrainingError(
            f"{folder} belongs to another dataset or preset.",
            reason="CHECKPOINT_MISMATCH",
            remedy="Resume with the settings it was started with, or train without --resume.",
        )
    curve = tuple(CurvePoint(**point) for point in state["curve"])
    tensors = load_file(checked(folder / Path(state["weights"]).name))
    return Checkpoint(run_id, state["step"], state["seconds"], curve, tensors)


def discard(folder: Path) -> None:
    """Remove the working folder."""
    shutil.rmtree(folder, ignore_errors=True)
