"""Weights and pictures that any program can make again from their names."""

from __future__ import annotations

import zlib

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Image = NDArray[np.uint8]


def seeded_tensors(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Random weights of the sizes of ``state``, each drawn from its own name."""
    return {name: _drawn(name, tensor) for name, tensor in state.items()}


def _drawn(name: str, like: Tensor) -> Tensor:
    if not like.is_floating_point():
        return torch.zeros_like(like)
    draw = np.random.RandomState(zlib.crc32(name.encode())).standard_normal(like.shape)
    if like.ndim > 1:
        draw *= np.sqrt(2 / np.prod(like.shape[1:]))
    elif name.endswith("running_var"):
        draw = 1 + 0.2 * np.abs(draw)
    elif name.endswith("weight"):
        draw = 1 + 0.1 * draw
    else:
        draw *= 0.1
    return torch.from_numpy(draw.astype(np.float32))


def picture(height: int, width: int, seed: int = 0) -> Image:
    """Smooth colour noise: it has structure at every scale, as photographs do."""
    rng = np.random.RandomState(seed)
    image = np.zeros((height, width, 3))
    for cells in (4, 16, 64):
        grid = rng.normal(0, 40 / cells**0.3, (cells, cells, 3))
        image += cv2.resize(grid, (width, height), interpolation=cv2.INTER_CUBIC)
    return np.clip(image + 128, 0, 255).astype(np.uint8)


def noisy(image: Image, deviation: float, seed: int = 1) -> Image:
    """With normal noise on every channel."""
    noise = np.random.RandomState(seed).normal(0, deviation, image.shape)
    return np.clip(image + noise, 0, 255).astype(np.uint8)
