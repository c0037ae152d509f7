"""Deformation by a linear basis over driving coefficients (METHOD rows 3, 8, 9).

The paper regresses every Gaussian's offsets from its triplane feature and the attended lip and
expression features (``triplane.py``). Driven by the same features, a learnt linear basis on all
attributes renders better and trains faster on little footage (docs/research), so it is what an
avatar ships:

    params = base + m_lip ⊙ (w_lip · B_lip) + m_exp ⊙ (w_exp · B_exp) + w_pose · B_pose

The masks are the paper's facial masks (S eq. 6): hard outside a soft band at the nose tip, so
that lips cannot move brows. Gaussians are ordered by canonical height, so B_lip only holds the
lower face (a prefix) and B_exp only the upper (a suffix). The weights ``w`` are the coefficients
plus a small MLP of them.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from synctalk.face_sync import FacialMask
from synctalk.gaussians.scene import N_COLUMNS
from synctalk.render import Basis, add_bases

HIDDEN = 48


class CoefficientMLP(nn.Module):
    """Coefficients to basis weights [V,K]: ``w = f + MLP(f)``; starts as the identity."""

    def __init__(self, n: int) -> None:
        super().__init__()
        self.hidden = nn.Linear(n, HIDDEN)
        self.out = nn.Linear(HIDDEN, n)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)

    def forward(self, f: Tensor) -> Tensor:
        """Weights [V,K] of coefficients [V,K]."""
        result: Tensor = f + self.out(torch.nn.functional.silu(self.hidden(f)))
        return result


@dataclass(frozen=True)
class DrivingCoefficients:
    """What moves the head model in V frames, each about unit variance over the footage.

    Args:
        lip: [V, K_lip].
        expression: [V, K_exp].
        pose: [V, K_pose].
    """

    lip: Tensor
    expression: Tensor
    pose: Tensor

    def __getitem__(self, index: Tensor | slice) -> DrivingCoefficients:
        return DrivingCoefficients(self.lip[index], self.expression[index], self.pose[index])

    def __len__(self) -> int:
        return self.lip.shape[0]


class BasisDeformation(nn.Module):
    """Base parameters, three bases and their masks.

    Args:
        base: [N,14] packed parameters, ordered by ascending canonical height.
        mask: facial masks of the N Gaussians.
        n_lip, n_expression, n_pose: numbers of coefficients.
        column_scale: [14]; tables are stored divided by it, so that one learning rate moves
            each column at its own pace.
    """

    def __init__(
        self,
        base: Tensor,
        mask: FacialMask,
        n_lip: int,
        n_expression: int,
        n_pose: int,
        column_scale: Tensor,
    ) -> None:
        super().__init__()
        n = base.shape[0]
        self.n_lower = int((mask.lip > 0).sum())
        self.n_upper = int((mask.expression > 0).sum())
        self.register_buffer("column_scale", column_scale)
        self.register_buffer("m_lip", mask.lip[: self.n_lower, None].contiguous())
        self.register_buffer("m_exp", mask.expression[n - self.n_upper :, None].contiguous())
        self.base = nn.Parameter(base / column_scale)
        self.basis_lip = nn.Parameter(torch.zeros(n_lip, self.n_lower * N_COLUMNS))
        self.basis_exp = nn.Parameter(torch.zeros(n_expression, self.n_upper * N_COLUMNS))
        self.basis_pose = nn.Parameter(torch.zeros(n_pose, n * N_COLUMNS))
        self.lip_mlp = CoefficientMLP(n_lip)
        self.exp_mlp = CoefficientMLP(n_expression)

    def canonical_params(self) -> Tensor:
        """Canonical parameters [1,N,14]."""
        return (self.base * self.get_buffer("column_scale"))[None]

    def weights(self, f: DrivingCoefficients) -> DrivingCoefficients:
        """Basis weights of the coefficients."""
        return DrivingCoefficients(self.lip_mlp(f.lip), self.exp_mlp(f.expression), f.pose)

    def forward(self, f: DrivingCoefficients) -> Tensor:
        """Deformed parameters [V,N,14] of V frames."""
        return self.combine(self.weights(f))

    def combine(self, w: DrivingCoefficients) -> Tensor:
        """Deformed parameters [V,N,14] from basis weights."""
        scale, n = self.get_buffer("column_scale"), self.base.shape[0]
        rows = (self.base * scale).view(1, -1)
        upper = N_COLUMNS * (n - self.n_upper)
        bases = [
            Basis(0, self.basis_pose, w.pose, scale.repeat(n)),
            Basis(0, self.basis_lip, w.lip, (self.get_buffer("m_lip") * scale).view(-1)),
            Basis(upper, self.basis_exp, w.expression, (self.get_buffer("m_exp") * scale).view(-1)),
        ]
        return add_bases(rows, bases).view(len(w), n, N_COLUMNS)
