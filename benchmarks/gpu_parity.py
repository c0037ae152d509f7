"""A device against the CPU kernel and the reference: pixels, gradients, loss, Adam, bases."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, fields, replace

import torch
from kernel import Scene, head_scene
from torch import Tensor

from synctalk.render import Basis, add_bases, l1_dssim, rasterize
from synctalk.render.reference import l1_dssim_reference, rasterize_reference
from synctalk.training.optimiser import Adam, Group

LEAVES = ("means", "quats", "scales", "opacities", "colors")


@dataclass(frozen=True)
class Check:
    """One comparison: what was compared, the error found, and how large it may be."""

    name: str
    error: float
    bound: float

    @property
    def ok(self) -> bool:
        return self.error <= self.bound  # a NaN is not


def run_checks(device: torch.device, quick: bool) -> dict[str, object]:
    """All comparisons; those against the CPU kernel say nothing where it is the device."""
    checks = [c for check in CHECKS for c in check(device, quick)]
    return {
        "passed": all(c.ok for c in checks),
        "checks": [{**asdict(c), "ok": c.ok} for c in checks],
    }


def on(scene: Scene, device: torch.device) -> Scene:
    """A copy on ``device``."""
    return Scene(*(getattr(scene, f.name).to(device) for f in fields(scene)))


def rendered(scene: Scene, size: int) -> tuple[Tensor, dict[str, Tensor]]:
    """RGB and alpha [1,S,S,4], and the gradients of a fixed weighing of them, all on the CPU."""
    leaves = {name: getattr(scene, name).detach().requires_grad_() for name in LEAVES}
    given = replace(scene, **leaves)
    inputs = [getattr(given, f.name) for f in fields(given)]
    rgb, alpha, meta = rasterize(*inputs, size, size)
    image = torch.cat([rgb, alpha], -1)
    weights = torch.randn(image.shape, generator=torch.Generator().manual_seed(1))
    (image * weights.to(image)).sum().backward()
    grads = {name: leaf.grad.cpu() for name, leaf in leaves.items()}
    return image.detach().cpu(), {**grads, "means2d": meta.means2d_grad.cpu()}


def relative(a: Tensor, b: Tensor) -> float:
    """Norm of the difference by the norm of ``b``."""
    return float((a - b).norm() / b.norm().clamp_min(1e-12))


def against_the_kernel(device: torch.device, quick: bool) -> list[Check]:
    size, n = (96, 1500) if quick else (512, 12_000)
    scene = head_scene(n, size)
    ours, grads = rendered(scene, size)
    theirs, their_grads = rendered(on(scene, device), size)
    off = (ours - theirs).abs()
    quantile = float(off.flatten()[:: max(1, off.numel() // 10**6)].quantile(0.999))
    return [
        Check("pixels to the CPU kernel, mean", float(off.mean()), 1e-4),
        Check("pixels to the CPU kernel, 99.9 %", quantile, 5e-3),
        *(
            Check(f"gradient of {name} to the CPU kernel's", relative(their_grads[name], g), 1e-2)
            for name, g in grads.items()
        ),
    ]


def against_the_reference(device: torch.device, quick: bool) -> list[Check]:
    size, n = (24, 60) if quick else (48, 400)
    scene = head_scene(n, size)
    image, grads = rendered(on(scene, device), size)
    leaves = {name: getattr(scene, name).double().requires_grad_() for name in LEAVES}
    rgb, alpha, _ = rasterize_reference(
        *leaves.values(), scene.viewmats[0].double(), scene.Ks[0].double(), size, size
    )
    wanted = torch.cat([rgb, alpha], -1)
    weights = torch.randn(image.shape, generator=torch.Generator().manual_seed(1))
    (wanted * weights[0]).sum().backward()
    off = (image[0] - wanted.detach()).abs()
    return [
        Check("pixels to the reference, mean", float(off.mean()), 1e-4),
        *(
            Check(f"gradient of {name} to the reference's", relative(grads[name], leaf.grad), 1e-2)
            for name, leaf in leaves.items()
        ),
    ]


def batches(device: torch.device, quick: bool) -> list[Check]:
    """Several deformed heads in one call against one call each."""
    size, n, heads = (48, 500, 3) if quick else (256, 8000, 8)
    scene = on(head_scene(n, size), device)
    generator = torch.Generator().manual_seed(2)
    moved = scene.means + torch.randn(heads, n, 3, generator=generator).to(device)
    views, Ks = scene.viewmats.expand(heads, 4, 4), scene.Ks.expand(heads, 3, 3)
    rest = (scene.quats, scene.scales, scene.opacities, scene.colors)
    together, _, _ = rasterize(moved, *rest, views, Ks, size, size)
    apart = [rasterize(m, *rest, views[:1], Ks[:1], size, size)[0][0] for m in moved]
    off = (together - torch.stack(apart)).abs()
    return [Check("a batch to its members, largest", float(off.max()), 1e-5)]


def losses(device: torch.device, quick: bool) -> list[Check]:
    side = 64 if quick else 256
    generator = torch.Generator().manual_seed(3)
    smooth = torch.linspace(0, 1, side)[:, None, None] * torch.ones(1, side, side, 3)
    pred = (smooth + 0.02 * torch.randn(smooth.shape, generator=generator)).clamp(0, 1)
    target = (255 * smooth).round().byte()
    exact = pred.double().requires_grad_()
    wanted = l1_dssim_reference(exact, target, lambda_dssim=0.5)
    wanted.backward()
    given = pred.to(device).requires_grad_()
    loss = l1_dssim(given, target.to(device), lambda_dssim=0.5)
    loss.backward()
    return [
        Check("image loss", abs(float(loss.detach()) / float(wanted.detach()) - 1), 1e-3),
        Check("gradient of the image loss", relative(given.grad.cpu(), exact.grad), 1e-2),
    ]


def optimisers(device: torch.device, quick: bool) -> list[Check]:
    """Five steps of Adam with decay, and added bases with their gradients, to those of the CPU."""

    def adam(where: torch.device) -> Tensor:
        generator = torch.Generator().manual_seed(4)
        parameter = torch.nn.Parameter(torch.randn(1000, generator=generator).to(where))
        steps = Adam([Group({"p": parameter}, lr=1e-2, decay=1e-3)])
        for _ in range(5):
            parameter.grad = torch.randn(1000, generator=generator).to(where)
            steps.step(0.7)
        return parameter.detach().cpu()

    def bases(where: torch.device) -> tuple[Tensor, Tensor]:
        generator = torch.Generator().manual_seed(5)
        rows, table, weights, mask = (
            torch.randn(shape, generator=generator).to(where)
            for shape in ((1, 90), (4, 60), (3, 4), (60,))
        )
        table.requires_grad_()
        out = add_bases(rows, [Basis(20, table, weights, mask)])
        out.square().sum().backward()
        return out.detach().cpu(), table.grad.cpu()

    cpu = torch.device("cpu")
    pairs = zip(("added bases", "their gradient"), bases(device), bases(cpu), strict=True)
    return [
        Check("Adam", relative(adam(device), adam(cpu)), 1e-5),
        *(Check(name, relative(a, b), 1e-5) for name, a, b in pairs),
    ]


CHECKS: tuple[Callable[[torch.device, bool], list[Check]], ...] = (
    against_the_kernel,
    against_the_reference,
    batches,
    losses,
    optimisers,
)
