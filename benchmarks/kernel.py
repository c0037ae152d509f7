"""Times the CPU rasteriser, the fused loss and the fused Adam step.

    .venv/bin/python benchmarks/kernel.py [--runs 40]

Prints a table and writes benchmarks/results/kernel.json with the machine's description. Each
figure is the median of the runs after a warm-up. The scene stands for a trained head: a closed
shell of flat, anisotropic Gaussians that covers more than half of the frame.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor

from synctalk.render import _kernel, adam_step, l1_dssim, rasterize

RESULTS = Path(__file__).resolve().parent / "results" / "kernel.json"


@dataclass(frozen=True)
class Scene:
    means: Tensor
    quats: Tensor
    scales: Tensor
    opacities: Tensor
    colors: Tensor
    viewmats: Tensor
    Ks: Tensor


@dataclass(frozen=True)
class Timing:
    what: str
    size: int
    gaussians: int
    threads: int
    forward_ms: float
    forward_backward_ms: float


def head_scene(n: int, size: int, seed: int = 0) -> Scene:
    """A head-like shell of n Gaussians (mm) seen at 700 mm, filling 95 % of the frame's height.

    Points lie on an ellipsoid (front half twice as dense as the back), flat along its normal,
    with log-normal sizes about the distance to the neighbour; opacities from faint to solid.
    """
    g = torch.Generator().manual_seed(seed)
    direction = torch.nn.functional.normalize(torch.randn(n, 3, generator=g), dim=-1)
    back = direction[:, 2] > 0
    flip = back & (torch.rand(n, generator=g) < 1 / 3)
    direction[flip, 2] *= -1
    axes = torch.tensor([85.0, 105.0, 95.0])
    means = direction * axes * (1 + 0.03 * torch.randn(n, 1, generator=g))
    spacing = (4 * torch.pi * 90.0**2 / n) ** 0.5
    scales = 0.6 * spacing * torch.exp(0.5 * torch.randn(n, 3, generator=g))
    scales[:, 2] *= 0.3
    z = torch.tensor([0.0, 0.0, 1.0]).expand(n, 3)
    normal = torch.nn.functional.normalize(direction / axes, dim=-1)
    quats = torch.cat([1 + (z * normal).sum(-1, True), torch.linalg.cross(z, normal)], dim=-1)
    spin = torch.rand(n, generator=g) * torch.pi
    quats = _multiply(quats + 1e-4, torch.stack([spin.cos(), 0 * spin, 0 * spin, spin.sin()], -1))
    viewmat = torch.eye(4)
    viewmat[2, 3] = 700.0
    focal = 0.95 * size * 700.0 / 210.0
    K = torch.tensor([[focal, 0.0, size / 2], [0.0, focal, size / 2], [0.0, 0.0, 1.0]])
    opacities = torch.sigmoid(1.5 + 1.5 * torch.randn(n, generator=g))
    colors = torch.rand(n, 3, generator=g)
    return Scene(means, quats, scales, opacities, colors, viewmat[None], K[None])


def _multiply(a: Tensor, b: Tensor) -> Tensor:
    aw, av, bw, bv = a[:, :1], a[:, 1:], b[:, :1], b[:, 1:]
    w = aw * bw - (av * bv).sum(-1, True)
    return torch.cat([w, aw * bv + bw * av + torch.linalg.cross(av, bv)], dim=-1)


def median_ms(run: Callable[[], object], runs: int) -> float:
    for _ in range(5):
        run()
    times = []
    for _ in range(runs):
        start = time.perf_counter()
        run()
        times.append(1e3 * (time.perf_counter() - start))
    return round(statistics.median(times), 3)


def time_rasterizer(n: int, size: int, threads: int, runs: int) -> Timing:
    s = head_scene(n, size)
    background = torch.full((1, 3), 0.5)
    leaves = [s.means, s.quats, s.scales, s.opacities, s.colors]
    upstream = torch.randn(1, size, size, 3, generator=torch.Generator().manual_seed(1))

    def forward() -> Tensor:
        args = (*leaves, s.viewmats, s.Ks, size, size)
        return rasterize(*args, backgrounds=background, num_threads=threads)[0]

    def both() -> None:
        torch.autograd.grad(forward(), leaves, upstream)

    with torch.no_grad():
        forward_ms = median_ms(forward, runs)
    for leaf in leaves:
        leaf.requires_grad_(True)
    return Timing("rasterize", size, n, threads, forward_ms, median_ms(both, runs))


def time_loss(size: int, threads: int, runs: int) -> Timing:
    g = torch.Generator().manual_seed(0)
    pred = torch.rand(1, size, size, 3, generator=g)
    target = (torch.rand(1, size, size, 3, generator=g) * 255).to(torch.uint8)
    weight = torch.rand(1, size, size, generator=g)
    forward_ms = median_ms(lambda: l1_dssim(pred, target, weight, num_threads=threads), runs)
    pred.requires_grad_(True)

    def both() -> None:
        torch.autograd.grad(l1_dssim(pred, target, weight, num_threads=threads), pred)

    return Timing("l1_dssim", size, 0, threads, forward_ms, median_ms(both, runs))


def time_adam(n: int, threads: int, runs: int) -> Timing:
    param, grad, mean, square = (torch.rand(n) for _ in range(4))

    def step() -> None:
        adam_step(param, grad, mean, square, 1e-3, step=10, num_threads=threads)

    ms = median_ms(step, runs)
    return Timing("adam_step", n, 0, threads, ms, ms)


def machine() -> dict[str, object]:
    cpu = platform.processor()
    if Path("/proc/cpuinfo").exists():
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        cpu = next((x.split(":")[1].strip() for x in lines if x.startswith("model name")), cpu)
    return {
        "cpu": cpu,
        "cores": os.cpu_count(),
        "kernel_variant": _kernel.variant(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "platform": platform.platform(),
    }


def overlap(n: int, size: int) -> dict[str, float]:
    """How heavy the scene is: radii in pixels and covered box pixels per image pixel."""
    s = head_scene(n, size)
    _, alpha, meta = rasterize(*asdict(s).values(), size, size)
    radii = meta.radii[meta.radii[..., 0] > 0].float()
    boxes = float((4 * radii[:, 0] * radii[:, 1]).sum()) / size**2
    covered = float((alpha > 0.5).float().mean())
    return {
        "median_radius_px": float(radii.median()),
        "box_pixels_per_pixel": round(boxes, 2),
        "covered": round(covered, 3),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=40)
    parser.add_argument("--quick", action="store_true", help="512 px, 20k Gaussians alone")
    args = parser.parse_args()
    cores = min(2, os.cpu_count() or 1)
    sizes, counts = ((512,), (20_000,)) if args.quick else ((512, 256), (20_000, 10_000))
    timings = []
    for size in sizes:
        for n in counts:
            timings += [time_rasterizer(n, size, t, args.runs) for t in (cores, 1)]
    timings += [time_loss(size, t, args.runs) for size in sizes for t in (cores, 1)]
    timings += [time_adam(6_000_000, t, args.runs) for t in (cores, 1)]
    print(f"{'what':10} {'size':>8} {'N':>6} {'threads':>7} {'forward':>9} {'fwd+bwd':>9}  (ms)")
    for t in timings:
        print(
            f"{t.what:10} {t.size:8} {t.gaussians:6} {t.threads:7} "
            f"{t.forward_ms:9.2f} {t.forward_backward_ms:9.2f}"
        )
    if args.quick:
        return
    scenes = {f"{n}@{size}": overlap(n, size) for size in sizes for n in counts}
    report = {"machine": machine(), "scenes": scenes, "timings": [asdict(t) for t in timings]}
    RESULTS.write_text(json.dumps(report, indent=1) + "\n")
    print(f"written: {RESULTS}")


if __name__ == "__main__":
    main()
