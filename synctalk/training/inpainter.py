"""The torso restorer's network: a small U-Net that fills a hole (S §III-F; METHOD row 13).

It works on 2×2 blocks of pixels, which costs a quarter and loses nothing: what it adds to a first
filling of the hole is learnt for one person, from a few hundred of their own frames.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

CHANNELS = (24, 32, 48, 64)
MULTIPLE = 16
"""Sides of what it is given: 2×2 blocks, halved three times."""
IN_CHANNELS = 5
RATE, FINAL_RATE = 2e-3, 0.03
GRADIENT_WEIGHT = 1.0
UNSEEN_WEIGHT = 0.05
"""What no frame shows, behind the jaw, only has to stay near its continuation."""


class Inpainter(nn.Module):
    """Fill holes: ``[B,5,h,w]`` to colours.

    The input is colours [0,1] with the hole filled beforehand, the hole, and how much of what fills
    it was filmed. Colours outside the hole are kept exactly; ``h`` and ``w`` are multiples of
    :data:`MULTIPLE`.
    """

    def __init__(self, channels: Sequence[int] = CHANNELS) -> None:
        super().__init__()
        widths = (4 * IN_CHANNELS, *channels)
        self.down = nn.ModuleList(_block(a, b) for a, b in pairwise(widths))
        pairs = list(zip(channels[:0:-1], channels[-2::-1], strict=True))
        self.up = nn.ModuleList(_block(low + high, high) for low, high in pairs)
        self.out = nn.Conv2d(channels[0], 12, 3, padding=1)
        nn.init.zeros_(self.out.weight)  # it begins as the filling
        nn.init.zeros_(self.out.bias)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:
        """Colours [B,3,h,w]."""
        h = F.pixel_unshuffle(x - 0.5, 2)
        skips: list[Tensor] = []
        for i, block in enumerate(self.down):
            h = block(F.avg_pool2d(h, 2) if i else h)
            skips.append(h)
        skips.pop()
        for block in self.up:
            h = block(torch.cat([F.interpolate(h, scale_factor=2.0), skips.pop()], 1))
        added: Tensor = F.pixel_shuffle(self.out(h), 2)
        return x[:, :3] + added * x[:, 3:4]


def _block(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, padding=1),
        nn.LeakyReLU(0.1, inplace=True),
        nn.Conv2d(outputs, outputs, 3, padding=1),
        nn.LeakyReLU(0.1, inplace=True),
    )


def fill_loss(filled: Tensor, truth: Tensor, known: Tensor) -> Tensor:
    """L1 of colours and of their gradients.

    The gradients stand in for the paper's perceptual loss, for which no weights are at hand: they
    keep edges (a collar, the jaw's shadow) sharp.

    Args:
        filled, truth: [B,3,h,w] in [0,1].
        known: [B,1,h,w] weight of each pixel: 1 where the truth was seen, 0 outside the hole.
    """
    off = (filled - truth) * known
    total = off.abs().sum() / known.sum().clamp(min=1)
    seen = (known == 1).to(off.dtype)
    for dim in (2, 3):
        size = off.shape[dim] - 1
        both = seen.narrow(dim, 0, size) * seen.narrow(dim, 1, size)
        step = (off.narrow(dim, 1, size) - off.narrow(dim, 0, size)) * both
        total = total + GRADIENT_WEIGHT * step.abs().sum() / both.sum().clamp(min=1)
    return total


def fit_inpainter(
    batch: Callable[[int], tuple[Tensor, Tensor, Tensor]],
    steps: int,
    seed: int,
    on_step: Callable[[float], None],
) -> Inpainter:
    """Train for ``steps`` on what ``batch(step)`` gives: input, truth and ``known``.

    Args:
        on_step: told of each step's loss.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = Inpainter()
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    adam = torch.optim.Adam(network.parameters(), lr=RATE, betas=(0.9, 0.98))
    decay = torch.optim.lr_scheduler.ExponentialLR(adam, FINAL_RATE ** (1 / steps))
    for step in range(steps):
        x, truth, known = batch(step)
        loss = fill_loss(network(x), truth, known)
        adam.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        adam.step()
        decay.step()
        on_step(float(loss.detach()))
    network.eval().requires_grad_(False)
    return network
