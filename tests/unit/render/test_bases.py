"""Bases added in one pass: equal to torch's operations, gradients and all."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from synctalk.errors import InputError
from synctalk.render import Basis, add_bases
from synctalk.render.bases import _plain

COLUMNS = 5003  # more than one block, and no multiple of a vector


def _bases(views: int, dtype: torch.dtype = torch.float32) -> tuple[Tensor, list[Basis]]:
    random = torch.Generator().manual_seed(views)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=random).to(dtype).requires_grad_()

    spans = ((0, COLUMNS, 6), (0, 1999, 24), (COLUMNS - 3000, 3000, 1))
    bases = [
        Basis(begin, normal(rank, width), normal(views, rank), normal(width).detach())
        for begin, width, rank in spans
    ]
    return normal(1, COLUMNS), bases


def _leaves(rows: Tensor, bases: list[Basis]) -> list[Tensor]:
    return [rows, *(tensor for b in bases for tensor in (b.table, b.weights))]


@pytest.mark.parametrize("views", [1, 2, 5])
def test_sum_and_gradients_equal_torchs(views: int) -> None:
    rows, bases = _bases(views)
    towards = torch.randn(views, COLUMNS, generator=torch.Generator().manual_seed(9))
    added, plain = add_bases(rows, bases), _plain(rows, bases)
    torch.testing.assert_close(added, plain, rtol=1e-5, atol=1e-4)
    leaves = _leaves(rows, bases)
    ours = torch.autograd.grad((added * towards).sum(), leaves)
    theirs = torch.autograd.grad((plain * towards).sum(), leaves)
    for our, their in zip(ours, theirs, strict=True):
        torch.testing.assert_close(our, their, rtol=1e-4, atol=1e-3)


def test_threads_change_no_bit() -> None:
    rows, bases = _bases(2)

    def run(threads: int) -> list[Tensor]:
        added = add_bases(rows, bases, num_threads=threads)
        return [added, *torch.autograd.grad(added.square().sum(), _leaves(rows, bases))]

    for one, four in zip(run(1), run(4), strict=True):
        assert torch.equal(one, four)


def test_what_does_not_fit_is_refused() -> None:
    rows, bases = _bases(2)
    beyond = Basis(COLUMNS - 10, bases[0].table, bases[0].weights, bases[0].mask)
    with pytest.raises(InputError, match="tensors that fit"):
        add_bases(rows, [beyond])
    with pytest.raises(InputError, match="float32"):
        add_bases(*_bases(2, torch.float64))
