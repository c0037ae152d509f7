"""View-dependent colour: real spherical harmonics, as splatting uses them.

Basis after Sloan, "Efficient Spherical Harmonic Evaluation" (JCGT 2013), with the signs and order
of the 3D Gaussian splatting papers and gsplat.
"""

from __future__ import annotations

import torch
from torch import Tensor


def sh_to_colors(degree: int, means: Tensor, coefficients: Tensor, viewmats: Tensor) -> Tensor:
    """RGB of each Gaussian as each camera sees it: max(0, SH(direction) + 0.5).

    Args:
        degree: harmonics up to this degree are used, 0..4.
        means: [(C,) N, 3].
        coefficients: [(C,) N, K, 3] with K >= (degree + 1)^2.
        viewmats: [C, 4, 4].

    Returns:
        [C, N, 3], not negative.
    """
    rotation, translation = viewmats[:, :3, :3], viewmats[:, :3, 3]
    positions = -(rotation.transpose(1, 2) @ translation[..., None])[..., 0]  # [C, 3]
    directions = torch.nn.functional.normalize(means - positions[:, None], dim=-1)  # [C, N, 3]
    bases = sh_bases(degree, directions)  # [C, N, (degree + 1)^2]
    used = coefficients[..., : bases.shape[-1], :]
    return torch.clamp_min((bases[..., None] * used).sum(-2) + 0.5, 0.0)


def sh_bases(degree: int, directions: Tensor) -> Tensor:
    """The (degree + 1)^2 basis functions at unit directions. [..., 3] -> [..., K]."""
    x, y, z = directions.unbind(-1)
    bases = [torch.full_like(x, 0.2820947917738781)]
    if degree >= 1:
        bases += [-0.48860251190292 * y, 0.48860251190292 * z, -0.48860251190292 * x]
    if degree >= 2:
        bases += _second(x, y, z)
    if degree >= 3:
        bases += _third(x, y, z)
    if degree >= 4:
        bases += _fourth(x, y, z)
    return torch.stack(bases, dim=-1)


def _second(x: Tensor, y: Tensor, z: Tensor) -> list[Tensor]:
    return [
        0.5462742152960395 * 2 * x * y,
        -1.092548430592079 * z * y,
        0.9461746957575601 * z * z - 0.3153915652525201,
        -1.092548430592079 * z * x,
        0.5462742152960395 * (x * x - y * y),
    ]


def _third(x: Tensor, y: Tensor, z: Tensor) -> list[Tensor]:
    c, s = x * x - y * y, 2 * x * y
    a = -2.285228997322329 * z * z + 0.4570457994644658
    b = 1.445305721320277 * z
    return [
        -0.5900435899266435 * (x * s + y * c),
        b * s,
        a * y,
        z * (1.865881662950577 * z * z - 1.119528997770346),
        a * x,
        b * c,
        -0.5900435899266435 * (x * c - y * s),
    ]


def _fourth(x: Tensor, y: Tensor, z: Tensor) -> list[Tensor]:
    z2 = z * z
    c, s = x * x - y * y, 2 * x * y
    c3, s3 = x * c - y * s, x * s + y * c
    a = z * (-4.683325804901025 * z2 + 2.007139630671868)
    b = 3.31161143515146 * z2 - 0.47308734787878
    d = -1.770130769779931 * z
    zonal = 1.984313483298443 * z2 * (1.865881662950577 * z2 - 1.119528997770346)
    return [
        0.6258357354491763 * (x * s3 + y * c3),
        d * s3,
        b * s,
        a * y,
        zonal - 1.006230589874905 * (0.9461746957575601 * z2 - 0.3153915652525201),
        a * x,
        b * c,
        d * c3,
        0.6258357354491763 * (x * c3 - y * s3),
    ]
