"""L1 + DSSIM, the image loss of Gaussian splatting, fused on the CPU."""

from __future__ import annotations

import os
from typing import Any

import torch
from torch import Tensor

from synctalk.errors import InputError
from synctalk.render import _kernel
from synctalk.render.reference import l1_dssim_reference


def l1_dssim(
    pred: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    lambda_dssim: float = 0.2,
    num_threads: int | None = None,
) -> Tensor:
    """(1 - lambda) L1 + lambda (1 - SSIM), averaged over all pixels and channels.

    SSIM: Wang et al. 2004, 11 x 11 Gaussian window of sigma 1.5, C1 = 0.01^2, C2 = 0.03^2, zeros
    around the image. Weights multiply each pixel's terms before the mean over all pixels (the
    mean is not divided by the weights' sum). Differentiable by ``pred`` alone.

    Args:
        pred: [B, H, W, 3] float32, values about 0..1.
        target: [B, H, W, 3] float32, or uint8 that is read as value / 255.
        weight: [B, H, W] float32, not negative; all ones if not given.
        lambda_dssim: share of the DSSIM term, 0..1.
        num_threads: CPU threads to use; 1 stays in the calling thread. Default: all cores.

    Returns:
        A scalar tensor.

    Raises:
        InputError: shapes or types do not fit together.
    """
    _check(pred, target, weight)
    if pred.is_cuda:
        return l1_dssim_reference(pred, target, weight, lambda_dssim)
    loss: Tensor = _L1Dssim.apply(  # type: ignore[no-untyped-call]
        pred.contiguous(),
        target.contiguous(),
        None if weight is None else weight.contiguous(),
        lambda_dssim,
        num_threads or os.cpu_count() or 1,
    )
    return loss


class _L1Dssim(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        pred: Tensor,
        target: Tensor,
        weight: Tensor | None,
        lambda_dssim: float,
        threads: int,
    ) -> Tensor:
        """The loss; its gradient costs little more, so it is computed at once."""
        grad = torch.empty_like(pred) if ctx.needs_input_grad[0] else None
        byte = target.dtype == torch.uint8
        l1, dssim = _kernel.l1_dssim(
            pred.detach(),
            None if byte else target.detach(),
            target if byte else None,
            None if weight is None else weight.detach(),
            1 - lambda_dssim,
            lambda_dssim,
            grad,
            threads,
        )
        if grad is not None:
            ctx.save_for_backward(grad)
        return pred.new_tensor((1 - lambda_dssim) * l1 + lambda_dssim * dssim)

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> tuple[Tensor | None, ...]:
        (grad,) = ctx.saved_tensors
        # A torch product of this size wakes torch's own thread pool, which costs milliseconds on
        # a busy machine; the loss is nearly always a plain summand.
        upstream = float(grads[0])
        return (grad if upstream == 1.0 else grad * upstream), None, None, None, None


def _check(pred: Tensor, target: Tensor, weight: Tensor | None) -> None:
    if pred.dim() != 4 or pred.shape[-1] != 3 or pred.dtype != torch.float32:
        raise InputError(
            f"pred is {pred.dtype} {list(pred.shape)}, expected float32 [B, H, W, 3]",
            reason="LOSS_SHAPE",
        )
    if target.shape != pred.shape or target.dtype not in (torch.float32, torch.uint8):
        raise InputError(
            f"target is {target.dtype} {list(target.shape)}, expected float32 or uint8 "
            f"{list(pred.shape)}",
            reason="LOSS_SHAPE",
        )
    if weight is not None and (weight.shape != pred.shape[:3] or weight.dtype != torch.float32):
        raise InputError(
            f"weight is {weight.dtype} {list(weight.shape)}, expected float32 "
            f"{list(pred.shape[:3])}",
            reason="LOSS_SHAPE",
        )
