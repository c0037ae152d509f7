"""A trained triplane deformation, baked into a few shared directions (METHOD row 9).

The triplane's networks run once per Gaussian and frame. Over one subject's footage their offsets
lie near a space of few dimensions, so after training they are replaced by ``offsets = w(f) @ B``:
``B`` from a singular value decomposition over the footage, ``w`` by a small network of the driving
coefficients. What that costs is measured, in pixels, on frames that neither was fitted on.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from synctalk.gaussians.basis import DrivingCoefficients
from synctalk.gaussians.scene import MEAN, PIXELS_PER_UNIT
from synctalk.gaussians.triplane import N_DEFORMED, TriplaneDeformation

RANK = 20
HIDDEN = 96
FIT_STEPS = 600
FIT_RATE = 3e-3
MOST_FRAMES = 600


class LowRankDeformation(nn.Module):
    """Canonical Gaussians plus ``rank`` directions, weighed by a network of the coefficients.

    Args:
        canonical: [N,14] packed parameters.
        directions: [K, N*10] offsets of position, rotation and scale.
        sizes: numbers of lip, expression and pose coefficients.
        column_scale: [14]; tables are stored divided by it, as in ``BasisDeformation``.
    """

    def __init__(
        self, canonical: Tensor, directions: Tensor, sizes: tuple[int, int, int], scale: Tensor
    ) -> None:
        super().__init__()
        self.register_buffer("column_scale", scale)
        self.register_buffer("sizes", torch.tensor(sizes))
        self.base = nn.Parameter(canonical / scale)
        self.directions = nn.Parameter(directions)
        self.weights = nn.Sequential(
            nn.Linear(sum(sizes), HIDDEN),
            nn.SiLU(),
            nn.Linear(HIDDEN, HIDDEN),
            nn.SiLU(),
            nn.Linear(HIDDEN, len(directions)),
        )

    def canonical_params(self) -> Tensor:
        """Canonical parameters [1,N,14]."""
        return (self.base * self.get_buffer("column_scale"))[None]

    def forward(self, f: DrivingCoefficients) -> Tensor:
        """Deformed parameters [V,N,14] of V frames."""
        w = self.weights(torch.cat([f.lip, f.expression, f.pose], dim=1))
        offsets = (w @ self.directions).view(len(f), -1, N_DEFORMED)
        params = self.base.repeat(len(f), 1, 1)
        params[..., :N_DEFORMED] += offsets
        return params * self.get_buffer("column_scale")


@dataclass(frozen=True)
class Baked:
    """A low-rank deformation and how far it is from what it replaces.

    Args:
        model: the baked deformation.
        error_px: root mean square distance of the Gaussians' centres at the head's usual
            distance, over frames that were not fitted.
    """

    model: LowRankDeformation
    error_px: float


def bake_low_rank(
    model: TriplaneDeformation, driving: DrivingCoefficients, rank: int = RANK, seed: int = 0
) -> Baked:
    """Bake ``model`` over the footage that ``driving`` describes; every fifth frame is a test.

    Args:
        model: a trained triplane deformation.
        driving: coefficients of T frames, scaled as in training.
        rank: directions to keep.
        seed: of the network's first weights.
    """
    torch.manual_seed(seed)
    pick = torch.linspace(0, len(driving) - 1, min(len(driving), MOST_FRAMES)).round().long()
    frames = driving[pick]
    test = torch.arange(len(frames)) % 5 == 4
    with torch.no_grad():
        canonical = model.canonical_params()[0]
        offsets = torch.stack(
            [_offsets(model, canonical, frames[i : i + 1]) for i in range(len(frames))]
        )
    directions, targets = _principal(offsets[~test], rank)
    scale = model.get_buffer("column_scale")
    sizes = (frames.lip.shape[1], frames.expression.shape[1], frames.pose.shape[1])
    baked = LowRankDeformation(canonical, directions, sizes, scale).to(canonical.device)
    inputs = torch.cat([frames.lip, frames.expression, frames.pose], dim=1)
    importance = directions.square().sum(1)
    _fit_weights(baked.weights, inputs[~test], targets, importance / importance.mean())
    with torch.no_grad():
        gap = (baked(frames[test]) - canonical)[..., MEAN]
        wanted = offsets[test].view(int(test.sum()), -1, N_DEFORMED)[..., MEAN] * scale[MEAN]
        error = float((gap - wanted).square().sum(-1).mean().sqrt())
    return Baked(baked, error * PIXELS_PER_UNIT)


def _offsets(model: TriplaneDeformation, canonical: Tensor, f: DrivingCoefficients) -> Tensor:
    """[N*10] offsets of one frame, in units of the column scale."""
    offset = (model(f)[0] - canonical) / model.get_buffer("column_scale")
    flat: Tensor = offset[:, :N_DEFORMED].reshape(-1)
    return flat


def _principal(offsets: Tensor, rank: int) -> tuple[Tensor, Tensor]:
    """Directions [K,M] and weights [T,K] with weights @ directions ~ offsets [T,M].

    Through the small Gram matrix: M is large, T is not. Weights have unit root mean square.
    """
    gram = (offsets @ offsets.T).double()
    values, vectors = torch.linalg.eigh(gram)
    kept = values[-rank:] > 1e-9 * values[-1]
    main = vectors[:, -rank:][:, kept].to(offsets)
    root = len(offsets) ** 0.5
    return main.T @ offsets / root, main * root


def _fit_weights(net: nn.Sequential, inputs: Tensor, targets: Tensor, importance: Tensor) -> None:
    """Fit ``net`` to the weights; ``importance`` [K] is what each one's error costs."""
    optimiser = torch.optim.AdamW(net.parameters(), lr=FIT_RATE, weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, FIT_STEPS)
    for _ in range(FIT_STEPS):
        optimiser.zero_grad()
        loss = ((net(inputs) - targets).square() * importance).mean()
        torch.autograd.backward(loss)
        optimiser.step()
        schedule.step()
