"""gsplat on CUDA tensors, brought to this package's conventions."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from synctalk.errors import BackendError


def rasterize(
    means: Tensor,
    quats: Tensor,
    scales: Tensor,
    opacities: Tensor,
    colors: Tensor,
    viewmats: Tensor,
    Ks: Tensor,
    width: int,
    height: int,
    near_plane: float,
    far_plane: float,
    radius_clip: float,
    eps2d: float,
    backgrounds: Tensor | None,
) -> tuple[Tensor, ...]:
    """rgb, alpha, means2d, depths, radii and the buffer for the 2D means' gradient.

    Gaussians given for each camera go through gsplat's batch dimension (one camera a batch), so
    that C deformed heads are one launch.

    Raises:
        BackendError: gsplat is not installed, or its kernels cannot be built.
    """
    gsplat = _gsplat()
    cameras, gaussians = viewmats.shape[0], means.shape[-2]
    per_gaussian: tuple[Tensor, ...] = (means, quats, scales, opacities, colors)
    dims = (3, 3, 3, 2, 3)  # with the camera's dimension
    batched = any(t.dim() == d for t, d in zip(per_gaussian, dims, strict=True))
    cameras_in: list[Tensor | None] = [viewmats, Ks, backgrounds]
    if batched:
        per_gaussian = tuple(
            t if t.dim() == d else t.expand(cameras, *t.shape)
            for t, d in zip(per_gaussian, dims, strict=True)
        )
        cameras_in = [None if t is None else t[:, None] for t in cameras_in]
    rgb, alpha, info = gsplat.rasterization(
        *per_gaussian,
        cameras_in[0],
        cameras_in[1],
        width,
        height,
        near_plane=near_plane,
        far_plane=far_plane,
        radius_clip=radius_clip,
        eps2d=eps2d,
        backgrounds=cameras_in[2],
        packed=False,
    )
    means2d = info["means2d"]
    means2d_grad = torch.zeros(cameras, gaussians, 2, device=means.device)
    if means2d.requires_grad:

        def keep_grad(grad: Tensor) -> None:
            means2d_grad.copy_(grad.reshape(means2d_grad.shape))

        means2d.register_hook(keep_grad)
    shown = (info["radii"] > 0).all(-1).reshape(cameras, gaussians)
    return (
        rgb.reshape(cameras, height, width, 3),
        alpha.reshape(cameras, height, width, 1),
        torch.where(shown[..., None], means2d.detach().reshape(cameras, gaussians, 2), 0.0),
        torch.where(shown, info["depths"].detach().reshape(cameras, gaussians), 0.0),
        info["radii"].reshape(cameras, gaussians, 2),
        means2d_grad,
    )


def _gsplat() -> Any:
    try:
        import gsplat
    except ImportError as error:
        raise BackendError(
            "CUDA tensors need gsplat.",
            reason="GSPLAT_MISSING",
            remedy="Install it with: pip install 'synctalk[cuda]'",
        ) from error
    try:  # its kernels are compiled when they are first asked for, unless they came with it
        from gsplat.cuda._backend import _C
    except (ImportError, OSError, RuntimeError) as error:
        raise _not_built(str(error)) from error
    if _C is None:
        raise _not_built("no CUDA compiler was found")
    return gsplat


def _not_built(why: str) -> BackendError:
    return BackendError(
        f"gsplat is here without its CUDA kernels, which cannot be built: {why}.",
        reason="GSPLAT_NOT_BUILT",
        remedy="Install the CUDA toolkit (nvcc), or a gsplat that brings kernels for this torch.",
    )
