"""Training of SyncTalk (P) on two cores: rays first, then patches (P, eq. 13).

Coarse stage: mean squared error of random rays. Fine stage: P adds LPIPS on random patches; no
LPIPS is at hand here, so structural dissimilarity stands there, named ``dssim`` in the settings.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import max_pool2d, mse_loss

from synctalk.baselines.synctalk_p.data import (
    Footage,
    Pixels,
    load_footage,
    random_patches,
    random_pixels,
)
from synctalk.baselines.synctalk_p.occupancy import OccupancyGrid
from synctalk.baselines.synctalk_p.portrait import JAW
from synctalk.baselines.synctalk_p.renderer import (
    FieldShape,
    SourceTracks,
    SyncTalkP,
    make_field,
)
from synctalk.baselines.synctalk_p.volume import Rays, Rendered, camera_rays, render_rays
from synctalk.bundle import BundleManifest
from synctalk.dataset import SubjectDataset
from synctalk.errors import TrainingError
from synctalk.face_sync import ENCODER_VERSION, LipRegressor
from synctalk.progress import ProgressCallback, StageProgress, ignore_progress
from synctalk.render import l1_dssim
from synctalk.training.lips import fit_lips
from synctalk.training.subject import Subject, study

NOSE_TIP = 4
BOX_MARGIN = (0.30, 0.25, 0.10)
"""How far the head's box goes beyond the face mesh at the sides, below and in front, and"""
BOX_HAIR, BOX_BACK = 0.70, 0.75
"""above and behind it; shares of the face's width."""
CARVE_FRAMES = 24
CARVE_SHARE = 0.9
"""A cell is in the visual hull when it is inside the matte in this share of the frames."""
COARSE_STEPS = ((0.06, 4.0), (0.15, 2.0))
"""Until which share of the training steps along rays are how many times as long as at the end."""
PRUNE_FROM, PRUNE_EVERY = 0.06, 0.03
"""When cells that nobody sees are dropped, share of the training."""
HOLD, LAST_RATE = 0.3, 0.1


@dataclass(frozen=True)
class FieldConfig:
    """How a SyncTalk (P) head is trained.

    Args:
        size: side of the frames it learns and renders, px.
        steps: optimiser steps; ignored where ``seconds`` is given.
        seconds: time to train for instead. Then the result depends on the machine's speed.
        rays: of each step.
        levels, coarsest, log2_table: of the hash encoders (P: 14 levels of one feature).
        finest_per_px: cells of the finest level along a side, a pixel of ``size``.
        grid: cells of the occupancy grid along a side.
        step_mm: distance of samples along a ray.
        lr_hash, lr: Adam's rates of the encoders and of the networks. P: 0.01 and 0.001 for
            125 000 steps; with those, a few hundred steps learn a face that hardly moves.
        mouth_share: share of the rays drawn around the mouth.
        alpha_weight: of the squared difference between rendered alpha and matte.
        fine_share: share of the training for the fine stage.
        patch: side of its patches, px.
        dssim: weight of their structural dissimilarity, in LPIPS's place.
        max_frames: most frames held in memory.
        seed: of everything random.
    """

    size: int = 128
    steps: int = 800
    seconds: float | None = None
    rays: int = 2048
    levels: int = 14
    coarsest: int = 16
    log2_table: int = 14
    finest_per_px: float = 2.0
    grid: int = 48
    step_mm: float = 4.0
    lr_hash: float = 4e-2
    lr: float = 8e-3
    mouth_share: float = 0.4
    alpha_weight: float = 0.1
    fine_share: float = 0.25
    patch: int = 24
    dssim: float = 0.02
    max_frames: int = 1000
    seed: int = 0

    def shape(self) -> FieldShape:
        """What of it the renderer must know."""
        finest = max(self.coarsest, round(self.finest_per_px * self.size))
        return FieldShape(
            self.size, self.step_mm, self.levels, self.coarsest, finest, self.log2_table, self.grid
        )


@dataclass(frozen=True)
class Progressed:
    """Where training stands: steps and seconds done, and the mean squared error of the step."""

    step: int
    seconds: float
    mse: float


def train_synctalk_p(
    dataset: SubjectDataset,
    config: FieldConfig,
    *,
    progress: ProgressCallback = ignore_progress,
    on_step: Callable[[Progressed], None] = lambda progressed: None,
) -> SyncTalkP:
    """Train a SyncTalk (P) head on the training frames of ``dataset``.

    Two runs of the same ``steps`` on the same machine and threads give the same tensors.

    Raises:
        FootageError: no head is seen.
        TrainingError: the loss is not finite.
    """
    subject = study(dataset)
    usable = np.nonzero(subject.usable[: dataset.held_out_range.start])[0]
    pick = np.linspace(0, len(usable) - 1, min(len(usable), config.max_frames)).round().astype(int)
    footage = load_footage(dataset, usable[np.unique(pick)], config.size, progress)
    run = FieldTraining(footage, _scene(dataset, subject, footage), config)
    seconds = run.train(progress, on_step)
    lips = fit_lips(dataset, subject, progress)
    return _assemble(dataset, subject, footage, config, run, lips, seconds)


@dataclass(frozen=True)
class Scene:
    """What is known of F frames besides their pixels.

    Args:
        R: [F,3,3]; t: [F,3] mm: head poses. K: [3,3] px of the small frames.
        lip, expression: [F,K] coefficients.
        vertices: [V,3] face mesh in the head frame, mm.
    """

    R: Tensor
    t: Tensor
    K: Tensor
    lip: Tensor
    expression: Tensor
    vertices: Tensor


def _scene(dataset: SubjectDataset, subject: Subject, footage: Footage) -> Scene:
    tracks, frames = dataset.tracks, footage.index
    scale = footage.size / dataset.manifest.size
    return Scene(
        torch.from_numpy(tracks.R)[frames],
        torch.from_numpy(tracks.t)[frames],
        torch.from_numpy(tracks.K) * torch.tensor([[scale], [scale], [1.0]]),
        subject.driving.lip[frames],
        subject.driving.expression[frames],
        torch.from_numpy(tracks.vertices),
    )


class FieldTraining:
    """Field, grid and optimiser over the frames of one head."""

    def __init__(self, footage: Footage, scene: Scene, config: FieldConfig) -> None:
        self.footage, self.scene, self.config = footage, scene, config
        self._generator = torch.Generator().manual_seed(config.seed)
        torch.manual_seed(config.seed)
        low, high = _head_box(scene.vertices)
        nose = float(scene.vertices[NOSE_TIP, 1])
        self.shape = config.shape()
        sizes = scene.lip.shape[1], scene.expression.shape[1]
        self.field, self.grid = make_field(self.shape, low, high, nose, *sizes)
        self.grid.carve(_visual_hull(self.grid, footage, scene))
        tables = [self.field.encoding.tables]
        rest = [p for p in self.field.parameters() if p is not tables[0]]
        groups = [{"params": tables, "lr": config.lr_hash}, {"params": rest, "lr": config.lr}]
        self._adam = torch.optim.AdamW(groups, betas=(0.9, 0.99), eps=1e-15)
        self._rates = [float(g["lr"]) for g in self._adam.param_groups]

    def train(
        self,
        progress: ProgressCallback = ignore_progress,
        on_step: Callable[[Progressed], None] = lambda progressed: None,
    ) -> float:
        """Train to the end; returns the seconds it took."""
        config, start, step, pruned = self.config, time.monotonic(), 0, PRUNE_FROM
        stage = StageProgress(progress, "train", config.steps if config.seconds is None else 0)
        while True:
            seconds = time.monotonic() - start
            share = seconds / config.seconds if config.seconds else step / config.steps
            if share >= 1:
                return seconds
            if share > pruned:
                self.grid.prune()
                pruned += PRUNE_EVERY
            mse = self._step(share)
            step += 1
            stage.advance()
            on_step(Progressed(step, seconds, mse))

    def _step(self, share: float) -> float:
        rate = LAST_RATE ** max(0.0, (share - HOLD) / (1 - HOLD))
        for group, first in zip(self._adam.param_groups, self._rates, strict=True):
            group["lr"] = first * rate
        loss, mse = self._fine_loss() if share > 1 - self.config.fine_share else self._loss(share)
        if not bool(torch.isfinite(loss)):
            raise TrainingError(
                "The loss of SyncTalk (P) is not finite.",
                reason="LOSS_NOT_FINITE",
                remedy="Train again with another seed or lower rates.",
            )
        self._adam.zero_grad(set_to_none=True)
        torch.autograd.backward(loss)
        self._adam.step()
        return float(mse)

    def _loss(self, share: float) -> tuple[Tensor, Tensor]:
        """Coarse stage: squared error of random rays."""
        config = self.config
        pixels = random_pixels(self.footage, config.rays, config.mouth_share, self._generator)
        longer = next((times for until, times in COARSE_STEPS if share < until), 1.0)
        image, rendered = self._render(pixels, config.step_mm * longer)
        return self._errors(image, rendered, pixels)

    def _fine_loss(self) -> tuple[Tensor, Tensor]:
        """Fine stage: the same on patches, and their structure."""
        config = self.config
        n = max(1, config.rays // config.patch**2)
        patches = random_patches(self.footage, n, config.patch, config.mouth_share, self._generator)
        image, rendered = self._render(patches, config.step_mm)
        loss, mse = self._errors(image, rendered, patches)
        shape = (n, config.patch, config.patch, 3)
        wanted = patches.of(self.footage.rgb).view(shape)
        structure = l1_dssim(image.view(shape), wanted, lambda_dssim=1.0)
        return loss + config.dssim * structure, mse

    def _errors(self, image: Tensor, rendered: Rendered, pixels: Pixels) -> tuple[Tensor, Tensor]:
        mse = mse_loss(image, pixels.of(self.footage.rgb))
        matte = mse_loss(rendered.alpha, pixels.of(self.footage.matte))
        return mse + self.config.alpha_weight * matte, mse.detach()

    def _render(self, pixels: Pixels, step_mm: float) -> tuple[Tensor, Rendered]:
        """Colours [P,3] of pixels over their plates."""
        frame, scene = pixels.frame, self.scene
        origins, directions = camera_rays(
            pixels.positions(), scene.R[frame], scene.t[frame], scene.K
        )
        rays = Rays(origins, directions, scene.lip[frame], scene.expression[frame])
        rendered = render_rays(self.field, self.grid, rays, step_mm, self._generator)
        self.grid.remember(rendered.cells, rendered.weights.detach())
        plate = pixels.of(self.footage.plate)
        return rendered.rgb + (1 - rendered.alpha[:, None]) * plate, rendered


def _head_box(vertices: Tensor) -> tuple[Tensor, Tensor]:
    """Corners of a box around the head of a face mesh [V,3], mm."""
    low, high = vertices.amin(0), vertices.amax(0)
    width = high[0] - low[0]
    side, below, front = BOX_MARGIN
    return (
        low - width * torch.tensor([side, below, BOX_BACK]),
        high + width * torch.tensor([side, BOX_HAIR, front]),
    )


def _visual_hull(grid: OccupancyGrid, footage: Footage, scene: Scene) -> Tensor:
    """Bool [cells]: inside the matte, let out by a little, in nearly all of a few frames."""
    centres = grid.centres()
    inside = torch.zeros(len(centres))
    frames = np.unique(np.linspace(0, len(footage) - 1, CARVE_FRAMES).round().astype(int))
    for f in frames:
        matte = (footage.matte[f] > 0).float()[None, None]
        near = max_pool2d(matte, 5, stride=1, padding=2)[0, 0] > 0
        seen = (centres @ scene.R[f].T + scene.t[f]) @ scene.K.T
        x, y = (seen[:, :2] / seen[:, 2:]).floor().long().clamp(0, footage.size - 1).unbind(1)
        inside += near[y, x]
    return inside >= CARVE_SHARE * len(frames)


def _assemble(
    dataset: SubjectDataset,
    subject: Subject,
    footage: Footage,
    config: FieldConfig,
    run: FieldTraining,
    lips: LipRegressor,
    seconds: float,
) -> SyncTalkP:
    source, tracks = dataset.manifest, dataset.tracks
    settings = {
        **dataclasses.asdict(config),
        **dataclasses.asdict(run.shape),
        "preset": f"SyncTalk (P) at {config.size} px",
    }
    manifest = BundleManifest(
        subject=Path(source.source_name).stem,
        source_sha256=source.source_sha256,
        crop=source.crop,
        size=source.size,
        source_width=source.source_width,
        source_height=source.source_height,
        n_frames=source.n_frames,
        cuts=source.cuts,
        window=(source.size, source.size),
        settings=settings,
        metrics={},
        training_curve=(),
        timings_s={**source.timings_s, "train": round(seconds, 2)},
        encoder=ENCODER_VERSION,
    )
    jaw = np.ascontiguousarray(tracks.mesh[:, JAW, :2])
    return SyncTalkP(
        manifest,
        run.shape,
        run.field,
        run.grid,
        subject.space,
        lips,
        tracks.K,
        SourceTracks(tracks.t, jaw, footage.neck.numpy()),
    )
