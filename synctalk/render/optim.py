"""Fused optimiser step for large CPU tensors."""

from __future__ import annotations

import os

from torch import Tensor

from synctalk.errors import InputError
from synctalk.render import _kernel


def adam_step(
    param: Tensor,
    grad: Tensor,
    exp_avg: Tensor,
    exp_avg_sq: Tensor,
    lr: float,
    beta1: float = 0.9,
    beta2: float = 0.999,
    eps: float = 1e-8,
    step: int = 1,
    weight_decay: float = 0.0,
    num_threads: int | None = None,
) -> None:
    """One AdamW step (Loshchilov & Hutter 2019, as ``torch.optim.AdamW``), in place, one pass.

    Args:
        param: updated in place; float32, CPU, contiguous, any shape.
        grad: same shape.
        exp_avg: running mean of the gradient, updated; zeros before the first step.
        exp_avg_sq: running mean of its square, updated; zeros before the first step.
        lr: learning rate.
        beta1: decay of ``exp_avg``.
        beta2: decay of ``exp_avg_sq``.
        eps: added to the denominator.
        step: number of this step, counted from 1.
        weight_decay: decoupled: the parameter shrinks by lr * weight_decay of itself.
        num_threads: CPU threads; default all cores.

    Raises:
        InputError: a tensor is not float32, contiguous and on the CPU, or sizes differ.
    """
    tensors = (param.detach(), grad.detach(), exp_avg.detach(), exp_avg_sq.detach())
    try:
        _kernel.adam_step(
            *tensors, lr, beta1, beta2, eps, step, weight_decay, num_threads or os.cpu_count() or 1
        )
    except (TypeError, ValueError) as error:
        raise InputError(
            "adam_step needs float32 contiguous CPU tensors of one size, got "
            + ", ".join(f"{t.dtype} {list(t.shape)} {t.device}" for t in tensors),
            reason="ADAM_TENSORS",
        ) from error
