"""One rasteriser, two backends: gsplat on CUDA tensors, our own kernel on CPU tensors.

Both follow gsplat 1.5.3's mathematics (EWA projection, 0.3 px blur, front-to-back compositing);
:mod:`synctalk.render.reference` states it readably and the tests compare.
"""

from __future__ import annotations

import os
from dataclasses import dataclass

import torch
from torch import Tensor

from synctalk.errors import InputError
from synctalk.render import _cpu, _cuda
from synctalk.render.harmonics import sh_to_colors


@dataclass(frozen=True)
class RasterizeMeta:
    """What a rasterisation leaves besides the image.

    Args:
        means2d: projected means, pixels, pixel centres at +0.5. [C, N, 2], 0 where not visible.
        depths: z in the camera's frame. [C, N], 0 where not visible.
        radii: half extent of the box a Gaussian may touch, pixels. [C, N, 2] int32, 0 where not
            visible.
        means2d_grad: gradient of the loss by ``means2d``, written by the backward pass and 0
            before it: what densification thresholds. [C, N, 2]
    """

    means2d: Tensor
    depths: Tensor
    radii: Tensor
    means2d_grad: Tensor


def rasterize(
    means: Tensor,  # [(C,) N, 3]
    quats: Tensor,  # [(C,) N, 4]
    scales: Tensor,  # [(C,) N, 3]
    opacities: Tensor,  # [(C,) N]
    colors: Tensor,  # [(C,) N, 3] or [(C,) N, K, 3]
    viewmats: Tensor,  # [C, 4, 4]
    Ks: Tensor,  # [C, 3, 3]
    width: int,
    height: int,
    near_plane: float = 0.01,
    far_plane: float = 1e10,
    radius_clip: float = 0.0,
    eps2d: float = 0.3,
    sh_degree: int | None = None,
    backgrounds: Tensor | None = None,  # [C, 3]
    num_threads: int | None = None,
) -> tuple[Tensor, Tensor, RasterizeMeta]:
    """Render 3D Gaussians into C pinhole cameras (gsplat's argument order and semantics).

    Every Gaussian parameter is either shared by all cameras ([N, ...]) or given for each
    ([C, N, ...]: every video frame deforms the head anew). All tensors are float32 and on one
    device. Differentiable by means, quats, scales, opacities, colors, viewmats and backgrounds.
    On the CPU, the same inputs give the same bits whatever ``num_threads`` is; a Gaussian with a
    NaN or an infinity in any parameter, or a zero quaternion, is not drawn and has no gradient.

    Args:
        means: centres, world units.
        quats: rotations (w, x, y, z), need not be normalised.
        scales: standard deviations along the three axes, world units, positive.
        opacities: in [0, 1].
        colors: RGB, or spherical-harmonics coefficients when ``sh_degree`` is given.
        viewmats: world-to-camera transforms, OpenCV axes.
        Ks: intrinsics, pixels.
        width: image width, pixels.
        height: image height, pixels.
        near_plane: nearer Gaussians are skipped.
        far_plane: farther Gaussians are skipped.
        radius_clip: Gaussians of this radius in pixels or less are skipped.
        eps2d: added to both diagonal terms of the 2D covariance, square pixels.
        sh_degree: degree of the spherical harmonics to use, at most sqrt(K) - 1.
        backgrounds: RGB behind everything; black if not given.
        num_threads: CPU threads to use; 1 stays wholly in the calling thread. Default: all cores.

    Returns:
        rgb [C, height, width, 3], alpha [C, height, width, 1] and a :class:`RasterizeMeta`.

    Raises:
        InputError: shapes, types or devices do not fit together.
    """
    per_gaussian = (means, quats, scales, opacities)
    _check(per_gaussian, colors, viewmats, Ks, backgrounds, sh_degree)
    if sh_degree is not None:
        colors = sh_to_colors(sh_degree, means, colors, viewmats)
    if means.is_cuda:
        rgb, alpha, *rest = _cuda.rasterize(
            *per_gaussian, colors, viewmats, Ks, width, height, near_plane, far_plane,
            radius_clip, eps2d, backgrounds,
        )  # fmt: skip
    else:
        options = _cpu.Options(
            width, height, near_plane, far_plane, radius_clip, eps2d,
            num_threads or os.cpu_count() or 1,
        )  # fmt: skip
        rgb, alpha, *rest = _cpu.rasterize(
            (*per_gaussian, colors, viewmats, Ks, backgrounds), options
        )
    return rgb, alpha, RasterizeMeta(*rest)


def _check(
    per_gaussian: tuple[Tensor, ...],
    colors: Tensor,
    viewmats: Tensor,
    Ks: Tensor,
    backgrounds: Tensor | None,
    sh_degree: int | None,
) -> None:
    cameras, gaussians = viewmats.shape[0], per_gaussian[0].shape[-2]
    for name, tensor, tail in zip(
        ("means", "quats", "scales", "opacities"), per_gaussian, ((3,), (4,), (3,), ()), strict=True
    ):
        _expect(name, tensor, ((gaussians, *tail), (cameras, gaussians, *tail)))
    color_tail = (3,) if sh_degree is None else (colors.shape[-2], 3)
    _expect("colors", colors, ((gaussians, *color_tail), (cameras, gaussians, *color_tail)))
    _expect("viewmats", viewmats, ((cameras, 4, 4),))
    _expect("Ks", Ks, ((cameras, 3, 3),))
    if backgrounds is not None:
        _expect("backgrounds", backgrounds, ((cameras, 3),))
    if sh_degree is not None and not 0 <= sh_degree <= 4:
        raise InputError(f"sh_degree {sh_degree} is not in 0..4", reason="RASTERIZE_SH_DEGREE")
    if sh_degree is not None and colors.shape[-2] < (sh_degree + 1) ** 2:
        raise InputError(
            f"colors has {colors.shape[-2]} coefficients, degree {sh_degree} needs "
            f"{(sh_degree + 1) ** 2}",
            reason="RASTERIZE_SHAPE",
        )
    devices = {t.device for t in (*per_gaussian, colors, viewmats, Ks)}
    if len(devices) > 1:
        raise InputError(f"tensors on several devices: {devices}", reason="RASTERIZE_DEVICE")


def _expect(name: str, tensor: Tensor, shapes: tuple[tuple[int, ...], ...]) -> None:
    if tuple(tensor.shape) not in shapes:
        wanted = " or ".join(str(list(s)) for s in shapes)
        raise InputError(
            f"{name} has shape {list(tensor.shape)}, expected {wanted}", reason="RASTERIZE_SHAPE"
        )
    if tensor.dtype != torch.float32:
        raise InputError(
            f"{name} is {tensor.dtype}, expected torch.float32", reason="RASTERIZE_DTYPE"
        )
