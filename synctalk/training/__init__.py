"""Training: a dataset in, an avatar bundle out."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from synctalk.avatar import pick_device
from synctalk.bundle import AvatarBundle, BundleManifest, write_bundle
from synctalk.dataset import SubjectDataset
from synctalk.errors import BundleError
from synctalk.face_sync import ENCODER_VERSION, LipRegressor
from synctalk.progress import ProgressCallback, ignore_progress
from synctalk.training.checkpoint import (
    Checkpoint,
    discard,
    load_checkpoint,
    save_checkpoint,
    working_folder,
)
from synctalk.training.config import PRESETS, TrainConfig, preset
from synctalk.training.expression import FittedExpression, fit_expression
from synctalk.training.lips import fit_lips
from synctalk.training.mattes import person_mattes
from synctalk.training.torso import restore_torso
from synctalk.training.trainer import HeldOutCheck, OnCheck, Trainer

__all__ = ["PRESETS", "HeldOutCheck", "TrainConfig", "preset", "train"]


def train(
    dataset: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    preset: str = "standard",
    config: TrainConfig | None = None,
    device: str = "auto",
    resume: bool = False,
    consent_id: str | None = None,
    checkpoint_every_s: float = 30.0,
    on_checkpoint: Callable[[Path], None] = lambda folder: None,
    on_check: OnCheck = lambda check: None,
    progress: ProgressCallback = ignore_progress,
) -> AvatarBundle:
    """Train an avatar.

    Args:
        dataset: folder written by ``synctalk.preprocess``.
        out: folder to write the avatar to; appears when training has finished.
        preset: ``"demo"``, ``"standard"`` or ``"best"``.
        config: settings of one's own instead of a preset's.
        device: ``"auto"``, ``"cpu"`` or ``"cuda"``.
        resume: continue the run that was interrupted, if there is one.
        consent_id: the consent record that goes into the avatar.
        checkpoint_every_s: seconds of work between two checkpoints.
        on_checkpoint: told the working folder ``OUT.training`` when it holds a new checkpoint;
            nothing changes there before it returns. Copied beside another ``out``, the folder
            lets another machine resume.
        on_check: told of each held-out check, every ``evaluate_every`` steps.
        progress: receives events of the stages ``load frames``, ``train``, ``lips``,
            ``expression``, ``torso``, ``mattes`` and ``torso plates``; the metric
            ``held_out_psnr_db`` comes with ``train``.

    Raises:
        DatasetError: ``dataset`` is not a whole dataset.
        BundleError: ``out`` exists and is not an avatar.
        TrainingError: the loss stays non-finite, or the checkpoint is of another run.
    """
    from synctalk.training.config import preset as settings_of

    source = SubjectDataset.open(dataset)
    final = Path(out)
    if final.exists() and not (final / "manifest.json").is_file():
        raise BundleError(
            f"{final} exists and is not an avatar.",
            reason="OUTPUT_EXISTS",
            remedy="Choose another --out folder.",
        )
    settings = config or settings_of(preset)
    folder = working_folder(final)
    trainer = Trainer(source, settings, pick_device(device), progress, on_check)
    checkpoint = load_checkpoint(folder, trainer.run_id) if resume else None
    if checkpoint is not None:
        trainer.resume(checkpoint)

    def save(state: Checkpoint) -> None:
        save_checkpoint(folder, state)
        on_checkpoint(folder)

    trainer.run(save, checkpoint_every_s)
    lips = fit_lips(source, trainer.subject, progress)
    expression = fit_expression(source, trainer.subject, settings.expression, progress)
    bundle = _publish(final, source, trainer, settings, lips, expression, consent_id, progress)
    discard(folder)
    return bundle


def _publish(
    final: Path,
    dataset: SubjectDataset,
    trainer: Trainer,
    settings: TrainConfig,
    lips: LipRegressor,
    expression: FittedExpression | None,
    consent_id: str | None,
    progress: ProgressCallback,
) -> AvatarBundle:
    source = dataset.manifest
    window = trainer.window
    deformation, metrics = trainer.shipped()
    if trainer.curve:
        metrics["held_out_psnr_db"] = trainer.curve[-1].psnr_db
    if expression is not None:
        metrics.update(expression.metrics())
    manifest = BundleManifest(
        subject=Path(source.source_name).stem,
        source_sha256=source.source_sha256,
        crop=source.crop,
        size=source.size,
        source_width=source.source_width,
        source_height=source.source_height,
        n_frames=source.n_frames,
        cuts=source.cuts,
        lost=dataset.lost,
        window=(window.width, window.height),
        settings=dataclasses.asdict(settings),
        metrics=metrics,
        consent_id=consent_id,
        encoder=ENCODER_VERSION,
        training_curve=trainer.curve,
        timings_s={**source.timings_s, "train": round(trainer.seconds, 2)},
    )
    final.parent.mkdir(parents=True, exist_ok=True)
    tensors = _tensors(dataset, trainer, deformation, settings, lips, expression)
    torso = None
    if settings.torso_steps:
        torso = restore_torso(dataset, settings.torso_steps, settings.seed, progress)
    mattes = person_mattes(dataset, progress)
    return write_bundle(final, manifest, tensors, dataset, mattes, torso)


def _tensors(
    dataset: SubjectDataset,
    trainer: Trainer,
    deformation: dict[str, Tensor],
    settings: TrainConfig,
    lips: LipRegressor,
    expression: FittedExpression | None,
) -> dict[str, Tensor]:
    tracks, subject = dataset.tracks, trainer.subject
    named: dict[str, Tensor] = {
        "K": torch.from_numpy(tracks.K),
        "window_centre": torch.tensor(trainer.window.centre),
        "unit_mm": torch.tensor(trainer.unit_mm),
        "coefficient_gain": torch.tensor(settings.coefficient_gain),
        "source.lip": subject.driving.lip,
        "source.expression": subject.driving.expression,
        "source.R": torch.from_numpy(tracks.R),
        "source.t": torch.from_numpy(tracks.t),
        "source.mesh": torch.from_numpy(tracks.mesh),
    }
    parts = {
        "deformation": deformation,
        "space": subject.space.state(),
        "regressor": lips.state(),
        "expression": expression.subject.state() if expression is not None else {},
    }
    for prefix, state in parts.items():
        named.update({f"{prefix}.{name}": tensor for name, tensor in state.items()})
    return named
