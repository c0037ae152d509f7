"""Two-stage training of an avatar (S §III-D; METHOD row 10).

Stage 1 fits the canonical head alone and lets it densify. Stage 2 trains everything: base,
deformation, coefficient networks. The first part runs at half resolution. Rates hold, then decay
once over the whole run: annealing is worth more than extra steps. What ships is the moving average
of the weights over the second half.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from synctalk.bundle import CurvePoint
from synctalk.dataset import SubjectDataset
from synctalk.errors import TrainingError
from synctalk.face_sync import OUTER_LIP, FacialMask, facial_mask
from synctalk.gaussians.basis import BasisDeformation, DrivingCoefficients
from synctalk.gaussians.densify import densify
from synctalk.gaussians.initialise import HeadViews, initial_gaussians, random_gaussians
from synctalk.gaussians.lowrank import Baked, bake_low_rank
from synctalk.gaussians.restore import Deformation, restore_deformation
from synctalk.gaussians.scene import MEAN
from synctalk.gaussians.triplane import TriplaneDeformation
from synctalk.progress import ProgressCallback, StageProgress
from synctalk.threads import one_thread_an_operation
from synctalk.training import curriculum
from synctalk.training.canonical import CanonicalHead, column_scale
from synctalk.training.checkpoint import Checkpoint
from synctalk.training.config import TrainConfig
from synctalk.training.data import FrameStack, head_window, load_frames, mouth_weight
from synctalk.training.optimiser import Adam, Group, WeightAverage
from synctalk.training.subject import study
from synctalk.training.views import View, ViewGradient, ViewLoss, ViewPool

SEED_VIEWS = 40
HELD_OUT_CHECKS = 12
SNAPSHOT_EVERY = 200
AVERAGE_FROM, AVERAGE_EVERY = 0.5, 5
MAX_ROLLBACKS = 3
NOSE_TIP = 4
SEAM_MM = 12.0

BAKE_BOUND_PX = 0.25
"""A baked deformation ships when its centres are this near the triplane's."""


@dataclass(frozen=True)
class Snapshot:
    """Deformation and optimiser in memory, to roll back to when a loss is not finite."""

    step: int
    tensors: dict[str, Tensor]


@dataclass(frozen=True)
class HeldOutCheck:
    """A look at frames that training never saw.

    Args:
        step: steps finished.
        rendered, source: the head window of one held-out frame, [h,w,3] uint8.
        curve: held-out quality so far, this check included.
    """

    step: int
    rendered: NDArray[np.uint8]
    source: NDArray[np.uint8]
    curve: tuple[CurvePoint, ...]


OnCheck = Callable[[HeldOutCheck], None]


class Trainer:
    """One run over one dataset; build it, :meth:`resume` it if need be, :meth:`run` it."""

    def __init__(
        self,
        dataset: SubjectDataset,
        config: TrainConfig,
        device: torch.device,
        progress: ProgressCallback,
        on_check: OnCheck = lambda check: None,
    ) -> None:
        torch.manual_seed(config.seed)
        self._on_check = on_check
        self.dataset, self.config, self.device = dataset, config, device
        self._progress = progress
        self.subject = study(dataset, config.capturer)
        self.window = head_window(dataset)
        self._train = self._load_training_frames()
        self._checks = self._load_checks()
        start = initial_gaussians if config.initialisation == "mesh" else random_gaussians
        self.base, self.unit_mm = start(
            self.subject.geometry,
            self._seed_views(),
            round(config.n_gaussians / config.densify.max_growth),
            config.seed,
        )
        self._probability = self._sampling_probability()
        loss = ViewLoss(config.lambda_dssim, config.alpha_weight)
        threads = torch.get_num_threads() if device.type == "cpu" else 1
        self._pool = ViewPool(self.unit_mm, loss, device, min(threads, config.views_per_step))
        self._driving = self._scaled(self.subject.driving)
        self.step, self.seconds, self.curve = 0, 0.0, ()  # type: int, float, tuple[CurvePoint, ...]
        self._rollbacks = 0
        self._grad2d = torch.zeros(self.base.shape[0], device=device)
        self.model, self._adam = self._canonical_model(self.base)
        self._average = WeightAverage(config.average_decay)

    # -- the run ---------------------------------------------------------------------------

    @property
    def run_id(self) -> str:
        """Digest of what the result depends on."""
        text = repr((sorted(self.dataset.manifest.files.items()), asdict(self.config)))
        return hashlib.sha256(text.encode()).hexdigest()

    def run(self, save: Callable[[Checkpoint], None], save_every_s: float = 30.0) -> None:
        """Train to the end, calling ``save`` then and every ``save_every_s`` seconds of work.

        Raises:
            TrainingError: the loss stays non-finite after several roll-backs.
            Cancelled, KeyboardInterrupt: as raised by the progress callback or the user, after
                ``save`` was called, so that the run can be resumed.
        """
        with one_thread_an_operation():  # views and the optimiser have threads of their own
            self._run(save, save_every_s)

    def _run(self, save: Callable[[Checkpoint], None], save_every_s: float) -> None:
        stage = StageProgress(self._progress, "train", self.config.steps)
        stage.done = self.step
        saved = started = time.monotonic()
        before = self.seconds
        snapshot = self._snapshot()
        try:
            while self.step < self.config.steps:
                if not self._advance():
                    snapshot = self._roll_back(snapshot)
                    stage.done = self.step
                    continue
                self.seconds = before + time.monotonic() - started
                stage.advance(metrics=self._check_if_due())
                if self.step % SNAPSHOT_EVERY == 0:
                    snapshot = self._snapshot()
                done = self.step == self.config.steps  # what follows may be interrupted too
                if done or time.monotonic() - saved > save_every_s:
                    save(self.checkpoint())
                    saved = time.monotonic()
        except BaseException:
            save(self.checkpoint())
            raise
        finally:
            self._pool.close()

    def _advance(self) -> bool:
        """One step; False when its loss is not finite (nothing is changed then)."""
        if self.step == self._canonical_steps and isinstance(self.model, CanonicalHead):
            self._begin_deformation()
        batch = curriculum.batch(
            self._probability, self.config.views_per_step, self._batch_seed, self.step
        )
        params = self.model(self._driving[self._frame_index(batch)])
        views = [self._view(int(i)) for i in batch]
        gradients = self._pool.gradients(params, views)
        # the rasteriser leaves splats that are not finite out, so the loss alone does not tell
        if not (all(np.isfinite(g.loss) for g in gradients) and bool(params.isfinite().all())):
            return False
        params.backward(self._total(params, gradients))
        self._adam.step(self._rate())
        self._grad2d += torch.stack([g.image_plane for g in gradients]).mean(0)
        self.step += 1
        self._keep_average()
        return True

    def _keep_average(self) -> None:
        """Follow the weights in the second half; after the last step become their average."""
        first = int(AVERAGE_FROM * self.config.steps)
        last = self.step == self.config.steps
        if self.config.average_decay == 0 or self.step < max(first, self._canonical_steps + 1):
            return
        if last or self.step % AVERAGE_EVERY == 0:
            self._average.update(self.model.named_parameters(), self.step)
        if last:
            self._average.take(self.model.named_parameters())

    @property
    def _batch_seed(self) -> int:
        """Another order of frames after every roll-back, so that it does not fail the same way."""
        return self.config.seed + 7919 * self._rollbacks

    def _total(self, params: Tensor, gradients: list[ViewGradient]) -> Tensor:
        stacked = torch.stack([g.params for g in gradients]) / len(gradients)
        return stacked.sum(0, keepdim=True) if params.shape[0] == 1 else stacked

    def _rate(self) -> float:
        """Learning rate factor: hold, then exponential decay to ``final_rate``."""
        share = self.step / self.config.steps
        hold = self.config.hold_share
        return float(self.config.final_rate ** max(0.0, (share - hold) / (1.0 - hold)))

    # -- stages ----------------------------------------------------------------------------

    @property
    def _canonical_steps(self) -> int:
        return max(1, int(self.config.canonical_share * self.config.steps))

    def _canonical_model(self, base: Tensor) -> tuple[CanonicalHead | Deformation, Adam]:
        model = CanonicalHead(base, column_scale()).to(self.device)
        return model, Adam([Group({"base": model.base}, self.config.lr_base)])

    def _begin_deformation(self) -> None:
        grows = self.config.densify.max_growth > 1
        generator = torch.Generator().manual_seed(self.config.seed)
        base = densify(
            self.model.canonical_params()[0].detach().cpu(),
            self._grad2d.cpu() / max(self.step, 1),
            self.config.n_gaussians if grows else 0,
            self.config.densify,
            generator,
        )
        self.model, self._adam = self._deforming_model(base)

    def _deforming_model(self, base: Tensor) -> tuple[Deformation, Adam]:
        driving = self._driving
        sizes = (driving.lip.shape[1], driving.expression.shape[1], driving.pose.shape[1])
        nose = float(self.dataset.tracks.vertices[NOSE_TIP, 1])
        mask = facial_mask(base[:, MEAN] * self.unit_mm, nose, SEAM_MM)
        if not self.config.masked_attention:
            mask = FacialMask(torch.ones_like(mask.lip), torch.ones_like(mask.expression))
        torch.manual_seed(self.config.seed)
        self._grad2d = torch.zeros(base.shape[0], device=self.device)
        model: Deformation
        if self.config.deformation == "basis":
            model = BasisDeformation(base, mask, *sizes, column_scale())
        else:
            model = TriplaneDeformation(base, mask, *sizes, column_scale(), self.config.heads)
        model = model.to(self.device)
        return model, Adam(_groups(model, self.config))

    # -- data ------------------------------------------------------------------------------

    def _load_training_frames(self) -> FrameStack:
        usable = self.subject.usable[: self.dataset.held_out_range.start]
        candidates = np.nonzero(usable)[0]
        weights = curriculum.rarity(
            self.subject.mouth_opening[candidates],
            self.subject.blink[candidates],
            self.config.rare_frame_power,
        )
        chosen = candidates[curriculum.thin(weights, self.config.max_frames, self.config.seed)]
        return load_frames(self.dataset, chosen, self.window, self._progress)

    def _load_checks(self) -> FrameStack:
        held_out = np.array(self.dataset.held_out_range)
        held_out = held_out[self.subject.usable[held_out]]
        if len(held_out) == 0:
            raise TrainingError(
                "The face was found in none of the held-out frames (the last 1/11).",
                reason="NO_HELD_OUT_FRAMES",
                remedy="Cut the end of the video off and preprocess it again.",
            )
        pick = np.unique(np.linspace(0, len(held_out) - 1, HELD_OUT_CHECKS).astype(int))
        return load_frames(self.dataset, held_out[pick], self.window, lambda event: None)

    def _seed_views(self) -> HeadViews:
        pick = np.linspace(0, len(self._train) - 1, min(SEED_VIEWS, len(self._train))).astype(int)
        frames = self._train.index[pick]
        tracks = self.dataset.tracks
        K = self.window.intrinsics(tracks.K, self._train.corner[pick]).numpy()
        return HeadViews(
            self._train.rgb[pick], self._train.matte[pick], tracks.R[frames], tracks.t[frames], K
        )

    def _sampling_probability(self) -> NDArray[np.float64]:
        index = self._train.index
        return curriculum.rarity(
            self.subject.mouth_opening[index],
            self.subject.blink[index],
            self.config.rare_frame_power,
        )

    def _frame_index(self, batch: NDArray[np.int64]) -> Tensor:
        return torch.from_numpy(self._train.index[batch])

    def _scaled(self, driving: DrivingCoefficients) -> DrivingCoefficients:
        gain = self.config.coefficient_gain
        return DrivingCoefficients(
            *(gain * c.to(self.device) for c in (driving.lip, driving.expression, driving.pose))
        )

    def _view(self, i: int) -> View:
        half = self.step < self.config.half_resolution_share * self.config.steps
        stack = self._train
        arrays = stack.halved(i) if half else (stack.rgb[i], stack.plate[i], stack.matte[i])
        return self._make_view(arrays, stack, i, 0.5 if half else 1.0)

    def _make_view(
        self, arrays: tuple[NDArray[np.uint8], ...], stack: FrameStack, i: int, scale: float
    ) -> View:
        rgb, plate, matte = (torch.from_numpy(a).to(self.device) for a in arrays)
        frame = int(stack.index[i])
        viewmat = self.subject.viewmats[frame].to(self.device)
        K = self.window.intrinsics(self.dataset.tracks.K, stack.corner[i : i + 1], scale)[0]
        weight = None
        if self.config.mouth_weight > 0:
            lips = self.dataset.tracks.mesh[frame, list(OUTER_LIP), :2] - stack.corner[i]
            weight = mouth_weight(scale * lips, arrays[2].shape, self.config.mouth_weight)
            weight = weight.to(self.device)
        return View(rgb, plate, matte, viewmat, K.to(self.device), weight)

    # -- held-out checks, snapshots, checkpoints ---------------------------------------------

    def _check_if_due(self) -> dict[str, float]:
        if self.step % self.config.evaluate_every and self.step != self.config.steps:
            return {}
        images = self._held_out_images()
        psnr = self._held_out_psnr(images)
        self.curve = (*self.curve, CurvePoint(round(self.seconds, 2), self.step, round(psnr, 3)))
        middle = len(images) // 2
        source = self._checks.rgb[middle]
        self._on_check(HeldOutCheck(self.step, images[middle], source, self.curve))
        return {"held_out_psnr_db": psnr}

    def held_out_psnr(self) -> float:
        """Full-frame PSNR (dB) over a few held-out frames, lips driven by the tracked face."""
        return self._held_out_psnr(self._held_out_images())

    def _held_out_images(self) -> list[NDArray[np.uint8]]:
        stack = self._checks
        with torch.no_grad():
            params = self.model(self._driving[torch.from_numpy(stack.index)])
        params = params.expand(len(stack), -1, -1)
        views = [
            self._make_view((stack.rgb[i], stack.plate[i], stack.matte[i]), stack, i, 1.0)
            for i in range(len(stack))
        ]
        return self._pool.images(params, views)

    def _held_out_psnr(self, images: list[NDArray[np.uint8]]) -> float:
        stack = self._checks
        pixels = self.dataset.manifest.size**2 * 3
        errors = [
            np.square(image.astype(np.float32) - stack.rgb[i]).sum() / pixels
            for i, image in enumerate(images)
        ]
        return float(np.mean([10 * np.log10(255.0**2 / max(e, 1e-6)) for e in errors]))

    def _snapshot(self) -> Snapshot:
        return Snapshot(self.step, {k: v.clone() for k, v in self._tensors().items()})

    def _roll_back(self, snapshot: Snapshot) -> Snapshot:
        self._rollbacks += 1
        if self._rollbacks > MAX_ROLLBACKS:
            raise TrainingError(
                f"The loss is not finite at step {self.step}, after {MAX_ROLLBACKS} roll-backs.",
                reason="LOSS_NOT_FINITE",
                remedy="Train again with another seed, or report the dataset.",
            )
        rollbacks = self._rollbacks
        self._restore(snapshot.step, snapshot.tensors)
        self._rollbacks = rollbacks
        self.curve = tuple(point for point in self.curve if point.step <= self.step)
        return snapshot

    def _tensors(self) -> dict[str, Tensor]:
        model = {f"model.{k}": v for k, v in self.model.state_dict().items()}
        adam = {f"adam.{k}": v for k, v in self._adam.state().items()}
        average = {f"average.{k}": v for k, v in self._average.state().items()}
        return {
            **model, **adam, **average,
            "grad2d": self._grad2d, "rollbacks": torch.tensor(self._rollbacks),
        }  # fmt: skip

    def checkpoint(self) -> Checkpoint:
        """Everything a resumed run needs."""
        return Checkpoint(self.run_id, self.step, self.seconds, self.curve, self._tensors())

    def shipped(self) -> tuple[dict[str, Tensor], dict[str, float]]:
        """The deformation's tensors as a bundle stores them, and figures about them.

        A triplane is baked into a low-rank basis where that loses less than ``BAKE_BOUND_PX``.
        """
        if not isinstance(self.model, TriplaneDeformation):
            return dict(self.model.state_dict()), {}
        learnt = torch.from_numpy(self._train.index)
        baked: Baked = bake_low_rank(self.model, self._driving[learnt], seed=self.config.seed)
        model = baked.model if baked.error_px <= BAKE_BOUND_PX else self.model
        return dict(model.state_dict()), {"baking_error_px": round(baked.error_px, 4)}

    def resume(self, checkpoint: Checkpoint) -> None:
        """Continue from ``checkpoint``, to the same result as an unbroken run."""
        self._restore(checkpoint.step, dict(checkpoint.tensors))
        self.seconds, self.curve = checkpoint.seconds, checkpoint.curve

    def _restore(self, step: int, tensors: dict[str, Tensor]) -> None:
        state = _under(tensors, "model.")
        if "m_lip" in state:
            self.model = restore_deformation(state).to(self.device)
            self._adam = Adam(_groups(self.model, self.config))
        else:
            self.model, self._adam = self._canonical_model(state["base"].cpu() * column_scale())
            self.model.load_state_dict(state)
        self._adam.load_state(_under(tensors, "adam."))
        average = _under(tensors, "average.")
        self._average.load_state({k: v.to(self.device) for k, v in average.items()})
        self._grad2d = tensors["grad2d"].to(self.device, copy=True)
        self._rollbacks = int(tensors["rollbacks"])
        self.step = step


def _groups(model: Deformation, config: TrainConfig) -> list[Group]:
    named = dict(model.named_parameters())
    basis = {k: p for k, p in named.items() if k.startswith("basis_")}
    rest = {k: p for k, p in named.items() if k != "base" and k not in basis}
    return [
        Group({"base": named["base"]}, config.lr_base),
        Group(basis, config.lr_basis, config.basis_decay),
        Group(rest, config.lr_mlp),
    ]


def _under(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {k[len(prefix) :]: v for k, v in tensors.items() if k.startswith(prefix)}
