"""The CPU kernel as a torch autograd function."""

from __future__ import annotations

from dataclasses import astuple, dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from synctalk.render import _kernel


@dataclass(frozen=True)
class Options:
    """What the kernel is told besides tensors; fields as in :func:`synctalk.render.rasterize`."""

    width: int
    height: int
    near_plane: float
    far_plane: float
    radius_clip: float
    eps2d: float
    num_threads: int


def rasterize(tensors: tuple[Tensor | None, ...], options: Options) -> tuple[Tensor, ...]:
    """rgb, alpha, means2d, depths, radii and the buffer for the 2D means' gradient.

    ``tensors``: means, quats, scales, opacities, colors, viewmats, Ks, backgrounds (or None).
    """
    dense = (None if t is None else t.contiguous() for t in tensors)
    outputs: tuple[Tensor, ...] = _Rasterize.apply(*dense, options)  # type: ignore[no-untyped-call]
    return outputs


class _Rasterize(torch.autograd.Function):
    """Forward and backward of the kernel; arguments are checked by the caller."""

    @staticmethod
    def forward(ctx: Any, *args: Any) -> tuple[Tensor, ...]:
        """Render; args are the eight tensors (backgrounds may be None) and :class:`Options`."""
        *tensors, options = args
        means, viewmats = tensors[0], tensors[5]
        cameras, gaussians = viewmats.shape[0], means.shape[-2]
        rgb = means.new_empty(cameras, options.height, options.width, 3)
        alpha = means.new_empty(cameras, options.height, options.width, 1)
        means2d = means.new_empty(cameras, gaussians, 2)
        depths = means.new_empty(cameras, gaussians)
        radii = means.new_empty(cameras, gaussians, 2, dtype=torch.int32)
        needs_grad = any(ctx.needs_input_grad)
        # numpy's zeros: torch's would wake its own thread pool for a few kilobytes.
        shape = tuple(means2d.shape) if needs_grad else (0,)
        means2d_grad = torch.from_numpy(np.zeros(shape, np.float32))
        inputs: Any = [None if t is None else t.detach() for t in tensors]
        outputs = (rgb, alpha, means2d, depths, radii)
        arguments: Any = (*inputs, *astuple(options), needs_grad, *outputs)
        state = _kernel.forward(*arguments)
        if needs_grad:
            ctx.save_for_backward(*tensors)
            ctx.state, ctx.threads, ctx.means2d_grad = state, options.num_threads, means2d_grad
        ctx.mark_non_differentiable(means2d, depths, radii, means2d_grad)
        ctx.set_materialize_grads(False)
        return rgb, alpha, means2d, depths, radii, means2d_grad

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> tuple[Tensor | None, ...]:
        """Gradients of the tensors that need one."""
        tensors: Any = [None if t is None else t.detach() for t in ctx.saved_tensors]
        v_rgb, v_alpha = grads[0], grads[1]
        if v_rgb is None:
            if v_alpha is None:
                return (None,) * 9
            v_rgb = v_alpha.new_zeros(*v_alpha.shape[:-1], 3)
        wanted: Any = [
            torch.empty_like(t) if t is not None and need else None
            for t, need in zip(tensors, ctx.needs_input_grad, strict=False)
        ]
        *gaussians, viewmats, _, backgrounds = wanted
        arguments: Any = (
            ctx.state,
            *tensors,
            v_rgb.contiguous(),
            None if v_alpha is None else v_alpha.contiguous(),
            *gaussians,
            viewmats,
            backgrounds,
            ctx.means2d_grad,
            ctx.threads,
        )
        _kernel.backward(*arguments)
        return (*gaussians, viewmats, None, backgrounds, None)
