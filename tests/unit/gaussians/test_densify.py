"""Adaptive density control: who multiplies, who goes, and how many there may be."""

from __future__ import annotations

import torch

from synctalk.gaussians.densify import DensifyConfig, densify
from synctalk.gaussians.scene import LOG_SCALE, MEAN, OPACITY, QUAT, pack

CONFIG = DensifyConfig(grad_threshold=1.0, split_scale=0.05, min_opacity=0.02)


def table(n: int, scale: float = 0.01, opacity: float = 0.8) -> torch.Tensor:
    g = torch.Generator().manual_seed(0)
    means = torch.randn(n, 3, generator=g)
    means = means[means[:, 1].argsort()]
    return pack(means, torch.full((n, 3), scale), torch.rand(n, 3, generator=g), opacity)


def run(params: torch.Tensor, grad: torch.Tensor, budget: int = 10_000) -> torch.Tensor:
    return densify(params, grad, budget, CONFIG, torch.Generator().manual_seed(7))


def rows_of(params: torch.Tensor, among: torch.Tensor) -> torch.Tensor:
    """How many rows of ``among`` equal each row of ``params``."""
    return (params[:, None] == among[None]).all(-1).sum(1)


def test_quiet_opaque_splats_stay_exactly_as_they_are() -> None:
    params = table(40)
    assert torch.equal(run(params, torch.full((40,), 0.9)), params)


def test_transparent_splats_are_removed_and_no_others() -> None:
    params = table(40)
    faint = torch.arange(40) % 3 == 0
    params[faint, OPACITY] = torch.tensor(0.019).logit()
    params[1, OPACITY] = torch.tensor(0.021).logit()
    assert torch.equal(run(params, torch.zeros(40)), params[~faint])


def test_a_transparent_splat_is_not_multiplied_whatever_its_gradient() -> None:
    params = table(10)
    params[4, OPACITY] = -9.0
    grad = torch.zeros(10)
    grad[4] = 100.0
    assert len(run(params, grad)) == 9


def test_a_small_splat_is_cloned_at_its_own_size_near_by() -> None:
    params = table(30, scale=0.02)
    grad = torch.zeros(30)
    grad[12] = 2.0
    out = run(params, grad)
    assert len(out) == 31
    assert rows_of(params, out).min() == 1  # the parent stays as it was
    child = out[rows_of(out, params) == 0][0]
    assert torch.equal(child[3:], params[12, 3:])
    assert 0 < (child[MEAN] - params[12, MEAN]).norm() < 5 * 0.02


def test_a_large_splat_is_split_into_two_of_a_smaller_size() -> None:
    params = table(30, scale=0.2)
    grad = torch.zeros(30)
    grad[12] = 2.0
    out = run(params, grad)
    assert len(out) == 31
    new = out[rows_of(out, params) == 0]
    assert len(new) == 2
    assert torch.allclose(new[:, LOG_SCALE].exp(), torch.tensor(0.2 / 1.6), rtol=0.01)
    assert rows_of(params[12:13], out).item() == 0


def test_children_lie_where_their_parent_was_dense() -> None:
    """A needle along x, turned by 90 degrees about z, lies along y: so must its children."""
    n = 400
    params = table(n)
    params[:, MEAN] = 0
    params[:, LOG_SCALE] = torch.tensor([0.5, 0.01, 0.01]).log()
    params[:, QUAT] = torch.tensor([3.0, 0, 0, 3.0])  # not normalised, as in training
    children = run(params, torch.full((n,), 2.0))
    offsets = children[children[:, MEAN].abs().sum(1) > 0][:, MEAN]
    assert len(offsets) == n
    spread = offsets.std(0)
    assert 0.4 < spread[1] < 0.6
    assert spread[[0, 2]].max() < 0.02


def test_the_budget_holds_and_goes_to_the_strongest_gradients() -> None:
    params = table(50)
    grad = torch.linspace(0.5, 5.0, 50)[torch.randperm(50, generator=torch.Generator())]
    out = run(params, grad, budget=55)
    assert len(out) == 55
    doubled = {tuple(row) for row in params[grad.topk(5).indices, 3:].tolist()}
    children = out[rows_of(out, params) == 0]
    assert {tuple(row) for row in children[:, 3:].tolist()} == doubled


def test_a_table_over_its_budget_does_not_grow() -> None:
    params = table(50)
    assert torch.equal(run(params, torch.full((50,), 9.0), budget=20), params)


def test_rows_stay_ordered_by_height() -> None:
    params = table(200, scale=0.2)
    heights = run(params, torch.rand(200, generator=torch.Generator().manual_seed(3)) * 3)[:, 1]
    assert (heights.diff() >= 0).all()


def test_the_same_generator_gives_the_same_table_and_the_input_is_left_alone() -> None:
    params, grad = table(100, scale=0.1), torch.full((100,), 2.0)
    before = params.clone()
    assert torch.equal(run(params, grad), run(params, grad))
    assert torch.equal(params, before)
