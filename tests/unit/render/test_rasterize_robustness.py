"""Degenerate input, concurrency, determinism and the two compiled variants."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
import torch
from render_scenes import Scene, cloud
from torch import Tensor

from synctalk.errors import InputError
from synctalk.render import _kernel, rasterize


def _render_with_grads(scene: Scene, width: int, height: int, threads: int = 1) -> list[Tensor]:
    leaves = scene.with_grad()
    background = torch.tensor([[0.2, 0.5, 0.9]], requires_grad=True)
    rgb, alpha, meta = rasterize(
        *leaves.args(), width, height, backgrounds=background, num_threads=threads
    )
    weights = torch.linspace(-1, 1, rgb.numel()).reshape(rgb.shape)
    ((rgb * weights).sum() + (alpha * weights[..., :1]).sum()).backward()
    return [rgb.detach(), alpha.detach(), meta.means2d_grad, background.grad,
            *leaves.grads().values()]  # fmt: skip


BROKEN: dict[str, tuple[str, tuple[float, ...] | float]] = {
    "behind the camera": ("means", (0.0, 0.0, -50.0)),
    "at the camera's centre plane": ("means", (0.0, 0.0, -4.0)),
    "infinitely far": ("means", (float("inf"), 0.0, 0.0)),
    "NaN mean": ("means", (float("nan"), 0.0, 0.0)),
    "zero quaternion": ("quats", (0.0, 0.0, 0.0, 0.0)),
    "NaN quaternion": ("quats", (float("nan"), 0.0, 0.0, 1.0)),
    "NaN scale": ("scales", (float("nan"), 0.1, 0.1)),
    "infinite scale": ("scales", (float("inf"), 0.1, 0.1)),
    "overflowing scale": ("scales", (1e30, 1e30, 1e30)),
    "NaN opacity": ("opacities", float("nan")),
    "opacity zero": ("opacities", 0.0),
    "negative opacity": ("opacities", -1.0),
    "NaN colour": ("colors", (float("nan"), 0.0, 0.0)),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_gaussian_is_left_out_and_has_no_gradient(case: str) -> None:
    scene = cloud(30, 40, 40)
    field, value = BROKEN[case]
    values = getattr(scene, field).clone()
    values[3] = torch.tensor(value)
    broken = replace(scene, **{field: values})
    others = torch.arange(30) != 3
    without = Scene(*(t[others] for t in scene.args()[:5]), *scene.args()[5:])
    got, wanted = _render_with_grads(broken, 40, 40), _render_with_grads(without, 40, 40)
    assert torch.equal(got[0], wanted[0])
    assert torch.equal(got[1], wanted[1])
    for grad, expected in zip(got[4:9], wanted[4:9], strict=True):
        assert not grad[3].any()
        assert torch.allclose(grad[others], expected, rtol=1e-5, atol=1e-6)
    assert torch.isfinite(got[9]).all()


def test_zero_scale_is_a_blurred_point() -> None:
    scene = cloud(5, 40, 40)
    points = replace(scene, scales=torch.zeros(5, 3), means=0.1 * scene.means)
    rgb, alpha, *rest = _render_with_grads(points, 40, 40)
    assert alpha.max() > 0.1
    assert all(torch.isfinite(t).all() for t in (rgb, *rest))


def test_no_gaussians_give_the_background() -> None:
    empty = Scene(*(t[:0] for t in cloud(1, 20, 10).args()[:5]), *cloud(1, 20, 10).args()[5:])
    rgb, alpha, *grads = _render_with_grads(empty, 20, 10)
    assert torch.equal(rgb, torch.tensor([0.2, 0.5, 0.9]).expand(1, 10, 20, 3))
    assert not alpha.any()
    assert grads[1].abs().max() > 0  # the background's


def test_a_wall_of_opaque_gaussians_hides_what_is_behind() -> None:
    near = replace(cloud(1, 32, 32), means=torch.zeros(1, 3), scales=torch.full((1, 3), 200.0),
                   opacities=torch.ones(1))  # fmt: skip
    args = [torch.cat([t, t, t, t]) for t in near.args()[:5]]
    args[0] = torch.tensor([[0.0, 0, 0.1 * k] for k in range(4)])
    args[4] = torch.tensor([[1.0, 0, 0], [0, 1.0, 0], [0, 0, 1.0], [0, 0, 1.0]])
    rgb, _, _ = rasterize(*args, *near.args()[5:], 32, 32)
    # 0.999 of the first; the second would leave 1e-6 <= 1e-4, so the pixel ends before it.
    assert (rgb[..., 0] - 0.999).abs().max() <= 1e-3
    assert not rgb[..., 1:].any()


@pytest.mark.parametrize("size", [(512, 512), (130, 70)])
def test_same_bits_for_any_number_of_threads(size: tuple[int, int]) -> None:
    scene = cloud(3000, *size)
    first = _render_with_grads(scene, *size, threads=1)
    for threads in (1, 2, 5):
        again = _render_with_grads(scene, *size, threads=threads)
        assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))


def test_concurrent_callers_get_what_they_get_alone() -> None:
    scenes = [cloud(800, 150, 130, seed=k) for k in range(6)]
    alone = [_render_with_grads(s, 150, 130) for s in scenes]
    with ThreadPoolExecutor(6) as pool:
        for threads in (1, 2, 3):
            jobs = [
                pool.submit(_render_with_grads, s, 150, 130, threads)
                for s in scenes
                for _ in range(4)
            ]
            for k, job in enumerate(jobs):
                for a, b in zip(job.result(), alone[k // 4], strict=True):
                    assert torch.equal(a, b)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_a_forked_child_can_render_on_several_threads() -> None:
    scene = cloud(200, 150, 150)
    wanted = rasterize(*scene.args(), 150, 150, num_threads=2)[0]
    child = os.fork()
    if child == 0:
        image = rasterize(*scene.args(), 150, 150, num_threads=2)[0]
        # torch compares with OpenMP, whose threads a forked child waits for in vain.
        os._exit(0 if np.array_equal(image.numpy(), wanted.numpy()) else 1)
    assert os.waitpid(child, 0)[1] == 0


def test_a_second_backward_pass_repeats_the_first() -> None:
    leaves = cloud(100, 60, 60).with_grad()
    loss = (rasterize(*leaves.args(), 60, 60)[0] ** 2).sum()
    first = torch.autograd.grad(loss, leaves.means, retain_graph=True)[0]
    rasterize(*cloud(100, 60, 60, seed=9).args(), 60, 60)  # must not disturb the kept state
    assert torch.equal(first, torch.autograd.grad(loss, leaves.means)[0])


def test_non_contiguous_input_gives_the_same_image() -> None:
    scene = cloud(100, 60, 60)
    strided = [torch.stack([t, 0 * t - 1], dim=-1)[..., 0] for t in scene.args()]
    assert not strided[0].is_contiguous()
    assert torch.equal(rasterize(*strided, 60, 60)[0], rasterize(*scene.args(), 60, 60)[0])


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("quats", torch.zeros(5, 3)),
        ("opacities", torch.zeros(5, 1)),
        ("colors", torch.zeros(4, 3)),
        ("means", torch.zeros(5, 3, dtype=torch.float64)),
        ("viewmats", torch.eye(4)[None].repeat(2, 1, 1)),
    ],
)
def test_wrong_shapes_and_types_are_named(field: str, value: Tensor) -> None:
    scene = replace(cloud(5, 20, 20), **{field: value})
    with pytest.raises(InputError, match=r"means|quats|opacities|colors|Ks"):
        rasterize(*scene.args(), 20, 20)


VARIANT_SNIPPET = """
import json, sys
from render_scenes import cloud
from test_rasterize_robustness import _render_with_grads
from synctalk.render import _kernel
out = _render_with_grads(cloud(400, 101, 67), 101, 67)
tensors = [t.flatten().tolist() for t in out]
json.dump({"variant": _kernel.variant(), "tensors": tensors}, sys.stdout)
"""


def test_baseline_and_avx2_agree(run_variant: Callable[[str, str], str]) -> None:
    if _kernel.variant() != "avx2":
        pytest.skip("this CPU has no AVX2")
    runs = [json.loads(run_variant(v, VARIANT_SNIPPET)) for v in ("baseline", "avx2")]
    assert [r["variant"] for r in runs] == ["baseline", "avx2"]
    for a, b in zip(*(r["tensors"] for r in runs), strict=True):
        x, y = torch.tensor(a), torch.tensor(b)
        assert float((x - y).norm() / y.norm()) <= 1e-4


def test_an_unknown_variant_is_refused(run_variant: Callable[[str, str], str]) -> None:
    code = "import synctalk.render"
    assert "SYNCTALK_CPU_KERNEL=sse9 cannot run here" in run_variant("sse9", code)


def test_the_kernel_repeats_itself_bit_for_bit() -> None:
    scene = cloud(1000, 256, 256)

    def digest() -> str:
        tensors = _render_with_grads(scene, 256, 256, threads=2)
        return hashlib.sha256(b"".join(t.numpy().tobytes() for t in tensors)).hexdigest()

    assert len({digest() for _ in range(3)}) == 1
