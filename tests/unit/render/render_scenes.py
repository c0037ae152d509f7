"""Small scenes for the rasteriser's tests."""

from __future__ import annotations

from dataclasses import dataclass, fields

import torch
from torch import Tensor


@dataclass(frozen=True)
class Scene:
    """The tensor arguments of ``rasterize`` in their order."""

    means: Tensor
    quats: Tensor
    scales: Tensor
    opacities: Tensor
    colors: Tensor
    viewmats: Tensor
    Ks: Tensor

    def args(self) -> tuple[Tensor, ...]:
        return tuple(getattr(self, f.name) for f in fields(self))

    def with_grad(self, dtype: torch.dtype = torch.float32) -> Scene:
        """Leaves that record gradients (the intrinsics do not)."""
        *leaves, Ks = (t.detach().to(dtype) for t in self.args())
        return Scene(*(t.clone().requires_grad_(True) for t in leaves), Ks)

    def grads(self) -> dict[str, Tensor]:
        named = {f.name: getattr(self, f.name).grad for f in fields(self)}
        return {name: grad for name, grad in named.items() if grad is not None}


def cloud(n: int, width: int, height: int, seed: int = 0, opaque: bool = False) -> Scene:
    """A cloud around the origin that fills the frame; the camera is turned and off-centre."""
    g = torch.Generator().manual_seed(seed)
    opacities = torch.rand(n, generator=g)
    if opaque:
        opacities = 0.9 + 0.2 * opacities  # some above the clamp of 0.999
        opacities = opacities.clamp(max=1.0)
    angle = torch.tensor(0.3)
    viewmat = torch.eye(4)
    viewmat[0, 0], viewmat[0, 2] = angle.cos(), angle.sin()
    viewmat[2, 0], viewmat[2, 2] = -angle.sin(), angle.cos()
    viewmat[:3, 3] = torch.tensor([0.1, -0.05, 4.0])
    focal = 1.2 * width
    K = torch.tensor([[focal, 0, 0.47 * width], [0, 1.1 * focal, 0.52 * height], [0, 0, 1]])
    return Scene(
        means=torch.randn(n, 3, generator=g),
        quats=torch.randn(n, 4, generator=g),
        scales=0.02 + 0.2 * torch.rand(n, 3, generator=g) ** 2,
        opacities=opacities,
        colors=torch.rand(n, 3, generator=g),
        viewmats=viewmat[None],
        Ks=K[None],
    )


def relative(got: Tensor, wanted: Tensor) -> float:
    """|got - wanted| / |wanted| in the 2-norm."""
    return float((got - wanted).norm() / wanted.norm())
