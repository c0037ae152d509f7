"""HyperIQA: quality as people would mark it, 0 to 100 (Su et al. 2020; the KonIQ-10k weights).

A ResNet-50 sees the image; from its last features a second network makes the weights of a third,
which turns features of all scales into a mark. The authors average ten random crops of 224 px of
the image resized to 512x384; ours are ten fixed ones, so that an image has one mark.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from synctalk.evaluation.quality.loading import fill, load_tensors
from synctalk.evaluation.quality.models import HYPERIQA, QualityModels
from synctalk.evaluation.quality.spec import Absent

Image = NDArray[np.uint8]

HEIGHT, WIDTH, CROP = 512, 384, 224
N_CROPS = 10
_CORNERS = np.random.RandomState(0).randint(0, (HEIGHT - CROP + 1, WIDTH - CROP + 1), (N_CROPS, 2))
_MEAN = torch.tensor([0.485, 0.456, 0.406])[:, None, None]
_DEVIATION = torch.tensor([0.229, 0.224, 0.225])[:, None, None]
_MAP = 7  # side of the last feature map
_INNER = 112  # channels of the second network
_SIZES = (224, 112, 56, 28, 14)  # of the third network's layers
_LOCAL = 16  # numbers from each of the first three stages


class _Bottleneck(nn.Module):
    def __init__(self, inputs: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, 4 * width, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(4 * width)
        self.downsample = (
            nn.Sequential(
                nn.Conv2d(inputs, 4 * width, 1, stride, bias=False), nn.BatchNorm2d(4 * width)
            )
            if inputs != 4 * width
            else None
        )

    def forward(self, x: Tensor) -> Tensor:
        change = self.bn1(self.conv1(x)).relu()
        change = self.bn2(self.conv2(change)).relu()
        change = self.bn3(self.conv3(change))
        kept = x if self.downsample is None else self.downsample(x)
        return torch.relu(change + kept)


def _stage(inputs: int, width: int, depth: int, stride: int) -> nn.Sequential:
    first = _Bottleneck(inputs, width, stride)
    return nn.Sequential(first, *(_Bottleneck(4 * width, width, 1) for _ in range(depth - 1)))


def _local(channels: int, kept: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(channels, kept, 1, bias=False), nn.AvgPool2d(_MAP, _MAP))


class _Eye(nn.Module):
    """ResNet-50 and what is local in each of its stages."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.maxpool = nn.MaxPool2d(3, 2, 1)
        self.layer1, self.layer2 = _stage(64, 64, 3, 1), _stage(256, 128, 4, 2)
        self.layer3, self.layer4 = _stage(512, 256, 6, 2), _stage(1024, 512, 3, 2)
        self.lda1_pool, self.lda1_fc = _local(256, 16), nn.Linear(16 * 64, _LOCAL)
        self.lda2_pool, self.lda2_fc = _local(512, 32), nn.Linear(32 * 16, _LOCAL)
        self.lda3_pool, self.lda3_fc = _local(1024, 64), nn.Linear(64 * 4, _LOCAL)
        self.lda4_pool = nn.AvgPool2d(_MAP, _MAP)
        self.lda4_fc = nn.Linear(2048, _SIZES[0] - 3 * _LOCAL)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """[N,3,224,224] to the last features [N,2048,7,7] and the vector to be marked [N,224]."""
        x1 = self.layer1(self.maxpool(self.bn1(self.conv1(x)).relu()))
        x2 = self.layer2(x1)
        x3 = self.layer3(x2)
        x4 = self.layer4(x3)
        local = [
            self.lda1_fc(self.lda1_pool(x1).flatten(1)),
            self.lda2_fc(self.lda2_pool(x2).flatten(1)),
            self.lda3_fc(self.lda3_pool(x3).flatten(1)),
            self.lda4_fc(self.lda4_pool(x4).flatten(1)),
        ]
        return x4, torch.cat(local, 1)


class HyperIqa(nn.Module):
    """The whole network, under its authors' names of the weights."""

    def __init__(self) -> None:
        """Untrained."""
        super().__init__()
        self.res = _Eye()
        self.conv1 = nn.Sequential(
            *(nn.Conv2d(2048, 1024, 1), nn.ReLU(), nn.Conv2d(1024, 512, 1), nn.ReLU()),
            *(nn.Conv2d(512, _INNER, 1), nn.ReLU()),
        )
        for i in range(1, 5):
            weights = _SIZES[i - 1] * _SIZES[i] // _MAP**2
            self.add_module(f"fc{i}w_conv", nn.Conv2d(_INNER, weights, 3, padding=1))
            self.add_module(f"fc{i}b_fc", nn.Linear(_INNER, _SIZES[i]))
        self.fc5w_fc = nn.Linear(_INNER, _SIZES[4])
        self.fc5b_fc = nn.Linear(_INNER, 1)

    def forward(self, images: Tensor) -> Tensor:
        """Normalised crops [N,3,224,224] to marks [N]."""
        seen, vector = self.res(images)
        rules = self.conv1(seen)
        pooled = rules.mean((2, 3))
        x = vector[..., None]
        for i in range(1, 5):
            weights = self.get_submodule(f"fc{i}w_conv")(rules)
            bias = self.get_submodule(f"fc{i}b_fc")(pooled)
            weights = weights.reshape(len(images), _SIZES[i], _SIZES[i - 1])
            x = torch.sigmoid(weights @ x + bias[..., None])
        mark: Tensor = (self.fc5w_fc(pooled) * x[..., 0]).sum(1) + self.fc5b_fc(pooled)[:, 0]
        return mark

    @classmethod
    def load(cls, models: QualityModels) -> HyperIqa | Absent:
        """The trained one, or how to get its weights.

        Raises:
            MissingModelError: a file is there but cannot be used.
        """
        path = models.find(HYPERIQA)
        if isinstance(path, Absent):
            return path
        network = cls()
        fill(network, load_tensors(path), path)
        return network

    @torch.inference_mode()
    def score(self, image: Image) -> float:
        """Mark of a uint8 RGB image [H,W,3] of any size; higher is better."""
        pixels = torch.from_numpy(image).permute(2, 0, 1)[None].float()
        whole = F.interpolate(pixels, (HEIGHT, WIDTH), mode="bilinear", antialias=True)[0]
        whole = (whole.round() / 255 - _MEAN) / _DEVIATION
        crops = [whole[:, y : y + CROP, x : x + CROP] for y, x in _CORNERS]
        return float(self(torch.stack(crops)).mean())
