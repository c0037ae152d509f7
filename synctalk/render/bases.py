"""Linear bases added onto rows, with gradients: on the CPU one pass each, on all cores.

``mask * (weights @ table)`` is bound by memory. As torch operations it writes and reads every row
several times, and its gradient more often still.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from synctalk.errors import InputError
from synctalk.render import _kernel


@dataclass(frozen=True)
class Basis:
    """What is added onto a span of columns.

    Args:
        begin: first column.
        table: [K,M]; gets a gradient.
        weights: [V,K]; gets a gradient.
        mask: [M] factor of each column; gets none.
    """

    begin: int
    table: Tensor
    weights: Tensor
    mask: Tensor


def add_bases(rows: Tensor, bases: Sequence[Basis], num_threads: int | None = None) -> Tensor:
    """``rows`` [1,C], and in every basis' span ``mask * (weights @ table)`` added: [V,C].

    Args:
        rows: float32; gets a gradient.
        bases: at least one; all of the same V views, on the same device.
        num_threads: CPU threads; default all cores. No bit of the result depends on them.

    Raises:
        InputError: tensors on the CPU are not float32, or sizes do not fit.
    """
    if rows.device.type != "cpu":
        return _plain(rows, bases)
    flat = [tensor for b in bases for tensor in (b.table, b.weights, b.mask)]
    begins, threads = [b.begin for b in bases], num_threads or os.cpu_count() or 1
    added: Tensor = _AddBases.apply(rows, begins, threads, *flat)  # type: ignore[no-untyped-call]
    return added


def _plain(rows: Tensor, bases: Sequence[Basis]) -> Tensor:
    """The same in torch operations: the reference, and for tensors on a GPU."""
    out = rows.repeat(len(bases[0].weights), 1)
    for b in bases:
        out[:, b.begin : b.begin + len(b.mask)] += b.mask * (b.weights @ b.table)
    return out


class _AddBases(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, rows: Tensor, begins: list[int], threads: int, *flat: Tensor) -> Tensor:
        tensors = [tensor.contiguous() for tensor in flat]
        out = rows.repeat(len(tensors[1]), 1)
        try:
            for i, begin in enumerate(begins):
                table, weights, mask = tensors[3 * i : 3 * i + 3]
                _kernel.low_rank_add(out, begin, table, weights, mask, threads)
        except (TypeError, ValueError) as error:
            raise InputError(
                "add_bases needs float32 tensors that fit, got "
                + ", ".join(f"{t.dtype} {list(t.shape)}" for t in (rows, *tensors)),
                reason="BASIS_TENSORS",
            ) from error
        ctx.save_for_backward(*tensors)
        ctx.begins, ctx.threads = begins, threads
        return out

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        grad = grads[0].contiguous()
        wanted: list[Tensor | None] = [grad.sum(0, keepdim=True), None, None]
        for i, begin in enumerate(ctx.begins):
            table, weights, mask = ctx.saved_tensors[3 * i : 3 * i + 3]
            v_table, v_weights = torch.empty_like(table), torch.empty_like(weights)
            _kernel.low_rank_backward(
                grad, begin, table, weights, mask, v_table, v_weights, ctx.threads
            )
            wanted += [v_table, v_weights, None]
        return tuple(wanted)
