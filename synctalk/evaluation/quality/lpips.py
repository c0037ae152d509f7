"""LPIPS v0.1: how differently a classifier sees two images (Zhang et al. 2018).

Activations of several layers are scaled to unit length at every position; their squared difference
is weighted by channel (weights fitted to human judgements), averaged over positions, and summed
over layers. Images enter at their full size, in [-1,1].
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from synctalk.evaluation.metrics import check_pair
from synctalk.evaluation.quality import models as files
from synctalk.evaluation.quality.backbones import Backbone, alexnet, squeezenet, vgg16
from synctalk.evaluation.quality.loading import fill, load_tensors, unusable
from synctalk.evaluation.quality.models import ModelFile, QualityModels
from synctalk.evaluation.quality.spec import Absent

Image = NDArray[np.uint8]
Net = Literal["alex", "vgg", "squeeze"]

_NETS: dict[Net, tuple[Callable[[], Backbone], ModelFile, ModelFile]] = {
    "alex": (alexnet, files.ALEXNET, files.LPIPS_ALEX),
    "vgg": (vgg16, files.VGG16, files.LPIPS_VGG),
    "squeeze": (squeezenet, files.SQUEEZENET, files.LPIPS_SQUEEZE),
}
_SHIFT = torch.tensor([-0.030, -0.088, -0.188])[:, None, None]
_SCALE = torch.tensor([0.458, 0.448, 0.450])[:, None, None]
_EPSILON = 1e-10


class Lpips:
    """The distance by one of the three classifiers.

    Args:
        backbone: with trained weights.
        heads: weight of every channel, [C] of each tap.
    """

    LEAST_SIDE = 32

    def __init__(self, backbone: Backbone, heads: list[Tensor]) -> None:
        """Keep both."""
        self._backbone, self._heads = backbone, heads

    @classmethod
    def load(cls, net: Net, models: QualityModels) -> Lpips | Absent:
        """The one by ``net``, or how to get its files.

        Raises:
            MissingModelError: a file is there but cannot be used.
        """
        build, trunk_file, head_file = _NETS[net]
        trunk, linear = models.find(trunk_file), models.find(head_file)
        if isinstance(linear, Absent):
            return linear
        if isinstance(trunk, Absent):
            return trunk
        backbone = build()
        tensors = load_tensors(trunk)
        # the classifier behind the last convolution is not needed
        fill(backbone, {k: v for k, v in tensors.items() if k in backbone.state_dict()}, trunk)
        rows = load_tensors(linear)
        names = [f"lin{i}.model.1.weight" for i in range(len(rows))]
        try:
            heads = [rows[name].float().flatten() for name in names]
        except KeyError as error:
            raise unusable(linear, error) from error
        return cls(backbone, heads)

    @torch.inference_mode()
    def distance(self, image: Image, reference: Image) -> float:
        """LPIPS of two uint8 RGB images [H,W,3], both sides at least 32.

        Raises:
            InputError: different shapes or types.
        """
        check_pair(image, reference)
        pair = torch.from_numpy(np.stack([image, reference])).permute(0, 3, 1, 2)
        x = (pair.float() / 127.5 - 1 - _SHIFT) / _SCALE
        total = 0.0
        for activation, weights in zip(self._backbone(x), self._heads, strict=True):
            length = activation.square().sum(1, keepdim=True).sqrt() + _EPSILON
            unit = activation / length
            apart = (unit[0] - unit[1]).square().mean((1, 2))
            total += float(apart @ weights)
        return total
