"""The packed table of Gaussians and what a rasteriser is given of it."""

from __future__ import annotations

import torch

from synctalk.gaussians.scene import LOG_SCALE, N_COLUMNS, OPACITY, activate, pack


def table(n: int = 50) -> torch.Tensor:
    g = torch.Generator().manual_seed(0)
    means, colors = torch.randn(n, 3, generator=g), torch.rand(n, 3, generator=g)
    return pack(means, 0.01 + torch.rand(n, 3, generator=g), colors, 0.8)


def test_what_was_packed_is_what_is_rendered_in_millimetres() -> None:
    g = torch.Generator().manual_seed(1)
    means, colors = torch.randn(20, 3, generator=g), torch.rand(20, 3, generator=g)
    scales = 0.01 + torch.rand(20, 3, generator=g)
    packed = pack(means, scales, colors, 0.3)
    assert packed.shape == (20, N_COLUMNS)
    splats = activate(packed, 50.0)
    assert torch.allclose(splats.means, means * 50)
    assert torch.allclose(splats.scales, scales * 50, rtol=1e-5)
    assert torch.allclose(splats.opacities, torch.full((20,), 0.3))
    assert torch.equal(splats.colors, colors)
    assert torch.equal(splats.quats, torch.tensor([1.0, 0, 0, 0]).expand(20, 4))


def test_several_views_are_activated_alike() -> None:
    views = torch.stack([table(), table() + 0.1])
    together = activate(views, 30.0)
    for i in range(2):
        alone = activate(views[i], 30.0)
        for name in ("means", "quats", "scales", "opacities", "colors"):
            assert torch.equal(getattr(together, name)[i], getattr(alone, name))


def test_no_step_however_large_makes_a_splat_infinite_or_negative() -> None:
    for step in (-1e30, -1e3, 1e3, 1e30):
        packed = table()
        packed[:, LOG_SCALE] += step
        packed[:, OPACITY] += step
        splats = activate(packed, 50.0)
        assert torch.isfinite(splats.scales).all()
        assert (splats.scales > 0).all()
        assert ((splats.opacities > 0) & (splats.opacities < 1)).all()


def test_gradients_of_activation_are_those_of_finite_differences() -> None:
    packed = table(4).double().requires_grad_()

    def total(params: torch.Tensor) -> torch.Tensor:
        s = activate(params, 50.0)
        parts = (s.means, s.quats, s.scales, s.opacities, s.colors)
        return sum((part**2).sum() for part in parts)  # type: ignore[return-value]

    assert torch.autograd.gradcheck(total, (packed,))
