"""The CPU kernel against the readable reference, finite differences and gsplat's own torch code."""

from __future__ import annotations

import pytest
import torch
from render_scenes import Scene, cloud, relative
from torch import Tensor

from synctalk.render import rasterize
from synctalk.render.harmonics import sh_bases, sh_to_colors
from synctalk.render.reference import composite, project, rasterize_reference, visible_radii

SIZES = [(64, 64), (91, 53), (1, 1), (200, 20), (33, 230)]


def _loss(rgb: Tensor, alpha: Tensor) -> Tensor:
    g = torch.Generator().manual_seed(7)
    weights = torch.randn(*rgb.shape[-3:-1], 4, generator=g).to(rgb)
    return (rgb * weights[..., :3]).sum() + (alpha * weights[..., 3:]).sum()


def _reference(
    scene: Scene, width: int, height: int, background: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    *gaussians, viewmats, Ks = scene.args()
    return rasterize_reference(
        *gaussians, viewmats[0], Ks[0], width, height, background=background[0]
    )


@pytest.mark.parametrize(("width", "height"), SIZES)
@pytest.mark.parametrize("opaque", [False, True])
def test_values_and_gradients_equal_the_float64_reference(
    width: int, height: int, opaque: bool
) -> None:
    scene = cloud(200, width, height, opaque=opaque)
    mine, exact = scene.with_grad(), scene.with_grad(torch.float64)
    background = torch.tensor([[0.2, 0.5, 0.9]], requires_grad=True)
    background64 = background.detach().double().requires_grad_(True)

    rgb, alpha, meta = rasterize(*mine.args(), width, height, backgrounds=background)
    _loss(rgb, alpha).backward()
    rgb64, alpha64, radii = _reference(exact, width, height, background64)
    _loss(rgb64, alpha64).backward()

    error = torch.cat([rgb[0] - rgb64, alpha[0] - alpha64], dim=-1).abs().flatten()
    assert error.quantile(0.99) <= 1e-5
    assert error.max() <= 5e-3  # a pixel on a threshold may fall on the other side
    assert (meta.radii[0] - radii).abs().max() <= 1
    for name, grad in exact.grads().items():
        assert relative(mine.grads()[name], grad) <= 1e-3, name
    assert relative(background.grad, background64.grad) <= 1e-3


def test_gradients_equal_finite_differences_of_the_reference() -> None:
    """Away from thresholds the reference is smooth; its float64 slopes are the truth."""
    scene = cloud(6, 24, 20, seed=3)
    scene = Scene(*scene.args()[:3], 0.3 + 0.3 * scene.opacities, *scene.args()[4:])
    mine = scene.with_grad()
    background = torch.tensor([[0.1, 0.2, 0.3]])
    _loss(*rasterize(*mine.args(), 24, 20, backgrounds=background)[:2]).backward()

    def value(args: list[Tensor]) -> float:
        return float(_loss(*_reference(Scene(*args), 24, 20, background.double())[:2]))

    exact = [t.detach().double() for t in scene.args()]
    step = 1e-7  # small: a pixel whose alpha crosses 1/255 would spoil the quotient
    for index, (name, grad) in enumerate(mine.grads().items()):
        slopes = torch.zeros_like(exact[index])
        for k in range(slopes.numel()):
            up, down = ([t.clone() for t in exact] for _ in range(2))
            up[index].view(-1)[k] += step
            down[index].view(-1)[k] -= step
            slopes.view(-1)[k] = (value(up) - value(down)) / (2 * step)
        if name == "viewmats":
            slopes, grad = slopes[:, :3], grad[:, :3]
        assert relative(grad, slopes) <= 1e-3, name


def test_projection_equals_gsplats_torch_code() -> None:
    impl = pytest.importorskip("gsplat.cuda._torch_impl")
    s = cloud(500, 120, 90)
    covars, _ = impl._quat_scale_to_covar_preci(s.quats, s.scales, True, False)
    radii, means2d, depths, conics, _ = impl._fully_fused_projection(
        s.means, covars, s.viewmats, s.Ks, 120, 90
    )
    _, _, meta = rasterize(*s.args(), 120, 90)
    shown = (meta.radii[0] > 0).all(-1)
    assert shown.sum() > 200
    assert (meta.means2d[0] - means2d[0])[shown].abs().max() <= 1e-3
    assert (meta.depths[0] - depths[0])[shown].abs().max() <= 1e-5
    mine2d, covariances, _ = project(s.means, s.quats, s.scales, s.viewmats[0], s.Ks[0], 120, 90)
    inverse = torch.linalg.inv(covariances)
    mine = torch.stack([inverse[:, 0, 0], inverse[:, 0, 1], inverse[:, 1, 1]], dim=-1)
    assert relative(mine[shown], conics[0][shown]) <= 1e-4
    assert relative(mine2d[shown], means2d[0][shown]) <= 1e-6
    # gsplat's torch code has no opacity-aware extent: ours is never larger.
    assert (meta.radii[0] <= radii[0])[shown].all()


@pytest.mark.parametrize("degree", [0, 1, 2, 3, 4])
def test_harmonics_equal_gsplats_torch_code(degree: int) -> None:
    impl = pytest.importorskip("gsplat.cuda._torch_impl")
    directions = torch.nn.functional.normalize(torch.randn(100, 3), dim=-1)
    wanted = impl._eval_sh_bases_fast((degree + 1) ** 2, directions)
    assert (sh_bases(degree, directions) - wanted).abs().max() <= 1e-6


def test_harmonics_look_from_the_camera_and_carry_gradients() -> None:
    s = cloud(50, 40, 40)
    coefficients = torch.randn(50, 9, 3, requires_grad=True)
    rgb, _, _ = rasterize(*s.args()[:4], coefficients, *s.args()[5:], 40, 40, sh_degree=2)
    rgb.sum().backward()
    assert coefficients.grad is not None
    assert coefficients.grad.abs().sum() > 0
    position = torch.linalg.inv(s.viewmats[0])[:3, 3]
    bases = sh_bases(2, torch.nn.functional.normalize(s.means - position, dim=-1))
    colors = (bases[..., None] * coefficients).sum(1).add(0.5).clamp_min(0)
    assert torch.allclose(sh_to_colors(2, s.means, coefficients, s.viewmats)[0], colors, atol=1e-5)


def test_each_camera_may_have_its_own_gaussians() -> None:
    first, second = cloud(100, 50, 40, seed=1), cloud(100, 50, 40, seed=2)
    pairs = list(zip(first.args(), second.args(), strict=True))
    gaussians = [torch.stack(pair) for pair in pairs[:5]]
    both = Scene(*gaussians, *(torch.cat(pair) for pair in pairs[5:])).with_grad()
    rgb, alpha, meta = rasterize(*both.args(), 50, 40)
    _loss(rgb, alpha).backward()
    for c, single in enumerate((first, second)):
        alone = single.with_grad()
        rgb1, alpha1, meta1 = rasterize(*alone.args(), 50, 40)
        _loss(rgb1, alpha1).backward()
        assert torch.equal(rgb[c], rgb1[0])
        assert torch.equal(meta.means2d_grad[c], meta1.means2d_grad[0])
        for name, grad in alone.grads().items():
            got = both.grads()[name][c]
            assert torch.equal(got, grad.reshape(got.shape)), name


def test_cameras_that_share_gaussians_add_their_gradients() -> None:
    s = cloud(100, 50, 40)
    turned = s.viewmats.clone()
    turned[0, 0, 3] += 0.3
    shared = Scene(*s.args()[:5], torch.cat([s.viewmats, turned]), s.Ks.repeat(2, 1, 1)).with_grad()
    _loss(*rasterize(*shared.args(), 50, 40)[:2]).backward()
    singles = []
    for viewmats in (s.viewmats, turned):
        alone = Scene(*s.args()[:5], viewmats, s.Ks).with_grad()
        _loss(*rasterize(*alone.args(), 50, 40)[:2]).backward()
        singles.append(alone.grads())
    for name in ("means", "quats", "scales", "opacities", "colors"):
        assert relative(shared.grads()[name], singles[0][name] + singles[1][name]) <= 1e-6


def test_gradient_of_2d_means_is_left_for_densification() -> None:
    """Moving a Gaussian by one pixel of parallax changes the loss as means2d_grad says."""
    s = cloud(40, 40, 40).with_grad()
    rgb, alpha, meta = rasterize(*s.args(), 40, 40)
    assert not meta.means2d_grad.any()
    _loss(rgb, alpha).backward()
    assert meta.means2d_grad.any()
    exact = cloud(40, 40, 40).with_grad(torch.float64)
    means2d, cov, depths = project(*exact.args()[:3], exact.viewmats[0], exact.Ks[0], 40, 40)
    means2d.retain_grad()
    radii = visible_radii(means2d, cov, depths, exact.opacities, 40, 40)
    order = torch.argsort(depths.detach())
    order = order[radii[order, 0] > 0]
    rgb64, t64 = composite(
        means2d[order], cov[order], exact.opacities[order], exact.colors[order], 40, 40
    )
    _loss(rgb64, 1 - t64[..., None]).backward()
    assert relative(meta.means2d_grad[0], means2d.grad) <= 1e-3
