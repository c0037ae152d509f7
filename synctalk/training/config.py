"""Training settings and the three presets."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import Literal

from synctalk.errors import InputError
from synctalk.expression import VQVAETraining
from synctalk.gaussians.densify import DensifyConfig
from synctalk.gaussians.triplane import Heads

Preset = Literal["demo", "standard", "best"]
Deformation = Literal["basis", "triplane"]
Initialisation = Literal["mesh", "random"]
Capturer = Literal["landmarks", "blink"]


@dataclass(frozen=True)
class TrainConfig:
    """How an avatar is trained.

    Args:
        preset: name of the preset these settings came from.
        deformation: ``"basis"`` (learnt linear basis, the default) or ``"triplane"`` (the paper's
            triplane features and MLPs; reference and ablation).
        heads: what the triplane's canonical heads decide (the paper's Table IV): ``"all"`` columns
            of a splat, ``"sh-opacity"``, or ``"geometry"`` (position, rotation, scale); the rest is
            learnt splat by splat. The basis has no heads.
        initialisation: ``"mesh"`` (the tracked face and a shell), or ``"random"`` places in the
            head's box, grey (ablation).
        capturer: what brows and eyes are driven by: tracked ``"landmarks"``, or the lids'
            ``"blink"`` alone (ablation).
        masked_attention: lips move the lower face alone and expressions the upper; off, both move
            all of it (ablation).
        n_gaussians: splats of the canonical head, at most; it begins with fewer if ``densify``
            lets it grow.
        steps: optimiser steps of both stages together.
        canonical_share: share of the steps for stage 1 (canonical head alone).
        half_resolution_share: share of the steps rendered at half resolution.
        views_per_step: frames per optimiser step; fixed, so that the result does not depend on
            the number of cores.
        hold_share: share of the steps at full learning rate before the decay begins.
        final_rate: learning rate at the end, as a share of the first.
        lr_base, lr_basis, lr_mlp: Adam's learning rates (in units of the table's column scales).
        average_decay: share kept per step of the moving average of the weights over the second
            half of the steps, which is what ships; 0 ships the last step's weights.
        basis_decay: pull of the basis towards zero, share per step at full rate; keeps
            expressions that the footage hardly shows from breaking up.
        lambda_dssim: share of DSSIM in the image loss; the rest is L1.
        mouth_weight: extra weight of the mouth region in the image loss.
        alpha_weight: weight of the L1 loss between rendered alpha and matte.
        coefficient_gain: factor on the standardised driving coefficients.
        rare_frame_power: 0 samples frames evenly, 1 inversely to how common their mouth
            opening and blink are.
        max_frames: most frames held in memory; longer footage is thinned by the curriculum.
        seed: of everything random.
        evaluate_every: steps between held-out checks shown while training.
        densify: growth in stage 1.
        torso_steps: optimiser steps of the torso restorer; 0 leaves it out.
        expression: training of the VQ-VAE behind generated expressions.
    """

    preset: str = "standard"
    deformation: Deformation = "basis"
    heads: Heads = "all"
    initialisation: Initialisation = "mesh"
    capturer: Capturer = "landmarks"
    masked_attention: bool = True
    n_gaussians: int = 12_000
    steps: int = 2500
    canonical_share: float = 0.08
    half_resolution_share: float = 0.35
    views_per_step: int = 2
    hold_share: float = 0.10
    final_rate: float = 0.03
    lr_base: float = 2e-2
    lr_basis: float = 2e-3
    lr_mlp: float = 5e-4
    average_decay: float = 0.998
    basis_decay: float = 0.002
    lambda_dssim: float = 0.1
    mouth_weight: float = 0.0
    alpha_weight: float = 0.02
    coefficient_gain: float = 0.5
    rare_frame_power: float = 0.2
    max_frames: int = 2500
    seed: int = 0
    evaluate_every: int = 250
    densify: DensifyConfig = field(default_factory=DensifyConfig)
    torso_steps: int = 500
    expression: VQVAETraining = field(default_factory=VQVAETraining)


PRESETS: dict[str, TrainConfig] = {
    "demo": TrainConfig(
        preset="demo",
        n_gaussians=9_000,
        steps=900,
        torso_steps=80,
        expression=VQVAETraining(steps=500),
    ),
    "standard": TrainConfig(),
    "best": TrainConfig(
        preset="best", n_gaussians=20_000, steps=10_000, densify=DensifyConfig(max_growth=1.25)
    ),
}


def preset(name: str, steps: int | None = None) -> TrainConfig:
    """The settings of a preset.

    Args:
        name: of the preset.
        steps: optimiser steps instead of the preset's; the torso's and the expressions' steps
            become more or fewer in proportion.

    Raises:
        InputError: no such preset, or fewer steps than one.
    """
    if name not in PRESETS:
        raise InputError(
            f"No preset {name!r}.",
            reason="UNKNOWN_PRESET",
            remedy=f"Choose one of {', '.join(PRESETS)}.",
        )
    config = replace(PRESETS[name])
    if steps is None or steps == config.steps:
        return config
    if steps < 1:
        raise InputError(
            f"An avatar cannot be trained in {steps} steps.",
            reason="STEPS_TOO_FEW",
            remedy="Leave the steps to the preset, or give a few hundred for a quick look.",
        )
    share = steps / config.steps
    return replace(
        config,
        steps=steps,
        torso_steps=math.ceil(share * config.torso_steps),
        expression=replace(config.expression, steps=math.ceil(share * config.expression.steps)),
        evaluate_every=min(config.evaluate_every, math.ceil(steps / 3)),
    )
