"""The three image classifiers under LPIPS, as far as LPIPS looks into them.

AlexNet (Krizhevsky 2014, one column), VGG-16 (Simonyan and Zisserman 2015) and SqueezeNet 1.1
(Iandola et al. 2016); layers are numbered as torchvision numbers them, so that its published
weights fit.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn


class Backbone(nn.Module):
    """Layers of a classifier, and the activations after some of them.

    Args:
        features: the layers.
        taps: indices of the layers whose outputs are given.
    """

    def __init__(self, features: nn.Sequential, taps: tuple[int, ...]) -> None:
        """Untrained."""
        super().__init__()
        self.features = features
        self._taps = taps

    def forward(self, x: Tensor) -> Iterator[Tensor]:
        """Images [N,3,H,W] to one [N,C,h,w] after each tap."""
        for i, layer in enumerate(self.features):
            x = layer(x)
            if i in self._taps:
                yield x


def alexnet() -> Backbone:
    """Five convolutions: 64, 192, 384, 256 and 256 channels."""
    pool = nn.MaxPool2d(3, 2)
    layers = (
        *(nn.Conv2d(3, 64, 11, 4, 2), nn.ReLU(), pool),
        *(nn.Conv2d(64, 192, 5, padding=2), nn.ReLU(), pool),
        *(nn.Conv2d(192, 384, 3, padding=1), nn.ReLU()),
        *(nn.Conv2d(384, 256, 3, padding=1), nn.ReLU()),
        *(nn.Conv2d(256, 256, 3, padding=1), nn.ReLU()),
    )
    return Backbone(nn.Sequential(*layers), (1, 4, 7, 9, 11))


def vgg16() -> Backbone:
    """Thirteen convolutions in five blocks."""
    layers: list[nn.Module] = []
    last = 3
    for width, depth in ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3)):
        for _ in range(depth):
            layers += [nn.Conv2d(last, width, 3, padding=1), nn.ReLU()]
            last = width
        layers.append(nn.MaxPool2d(2))
    return Backbone(nn.Sequential(*layers[:-1]), (3, 8, 15, 22, 29))


def squeezenet() -> Backbone:
    """One convolution and eight fire modules."""
    pool = nn.MaxPool2d(3, 2, ceil_mode=True)
    layers = (
        *(nn.Conv2d(3, 64, 3, 2), nn.ReLU(), pool),
        *(_Fire(64, 16, 64), _Fire(128, 16, 64), pool),
        *(_Fire(128, 32, 128), _Fire(256, 32, 128), pool),
        *(_Fire(256, 48, 192), _Fire(384, 48, 192), _Fire(384, 64, 256), _Fire(512, 64, 256)),
    )
    return Backbone(nn.Sequential(*layers), (1, 4, 7, 9, 10, 11, 12))


class _Fire(nn.Module):
    """A narrow 1x1 convolution, then 1x1 and 3x3 ones side by side."""

    def __init__(self, inputs: int, squeezed: int, expanded: int) -> None:
        super().__init__()
        self.squeeze = nn.Conv2d(inputs, squeezed, 1)
        self.expand1x1 = nn.Conv2d(squeezed, expanded, 1)
        self.expand3x3 = nn.Conv2d(squeezed, expanded, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.squeeze(x).relu()
        return torch.cat([self.expand1x1(x).relu(), self.expand3x3(x).relu()], 1)
