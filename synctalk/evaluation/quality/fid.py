"""FID: how far the frames of two videos lie apart as two clouds (Heusel et al. 2017)."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from synctalk.errors import InputError
from synctalk.evaluation.quality.inception import FEATURES, InceptionV3
from synctalk.evaluation.quality.loading import fill, load_tensors
from synctalk.evaluation.quality.models import INCEPTION, QualityModels
from synctalk.evaluation.quality.spec import Absent

Array = NDArray[np.float64]
Image = NDArray[np.uint8]


def load_inception(models: QualityModels) -> InceptionV3 | Absent:
    """FID's network, or how to get its weights.

    Raises:
        MissingModelError: a file is there but cannot be used.
    """
    path = models.find(INCEPTION)
    if isinstance(path, Absent):
        return path
    network = InceptionV3()
    tensors = load_tensors(path)
    fill(network, {k: v for k, v in tensors.items() if not k.startswith("fc.")}, path)
    return network


@torch.inference_mode()
def inception_features(network: InceptionV3, image: Image) -> Array:
    """[2048] of a uint8 RGB image [H,W,3], resized to 299x299 bilinearly, as pytorch-fid does."""
    pixels: Tensor = torch.from_numpy(image).permute(2, 0, 1)[None].float() / 255
    return np.asarray(network(pixels)[0].double().numpy())


class Cloud:
    """Mean and covariance of vectors that come one by one; the vectors are not kept."""

    def __init__(self, dim: int = FEATURES) -> None:
        """No vector yet."""
        self.n = 0
        self._sum = np.zeros(dim)
        self._products = np.zeros((dim, dim))

    def add(self, vector: Array) -> None:
        """Take in one vector [D]."""
        self.n += 1
        self._sum += vector
        self._products += np.outer(vector, vector)

    @property
    def mean(self) -> Array:
        """[D]."""
        return self._sum / self.n

    @property
    def covariance(self) -> Array:
        """[D,D], unbiased."""
        return (self._products - self.n * np.outer(self.mean, self.mean)) / (self.n - 1)


def frechet_distance(a: Cloud, b: Cloud) -> float:
    """Squared Fréchet distance of the normal distributions fitted to two clouds.

    ``|m_a - m_b|² + tr(C_a + C_b - 2 (C_a C_b)^½)``. The trace of the root is that of
    ``(C_a^½ C_b C_a^½)^½``, whose argument is symmetric: no complex roots, no added diagonal, also
    where there are fewer frames than dimensions.

    Raises:
        InputError: fewer than two vectors, or unequal dimensions.
    """
    if min(a.n, b.n) < 2 or a.mean.shape != b.mean.shape:
        raise InputError(
            f"Clouds of {a.n} and {b.n} vectors have no Fréchet distance.",
            reason="TOO_FEW_FRAMES",
            remedy="Give at least two frames of each video.",
        )
    C_a, C_b = a.covariance, b.covariance
    values, vectors = np.linalg.eigh(C_a)
    root = (vectors * np.sqrt(np.maximum(values, 0))) @ vectors.T
    cross = np.sqrt(np.maximum(np.linalg.eigvalsh(root @ C_b @ root), 0)).sum()
    apart = np.square(a.mean - b.mean).sum()
    return float(max(0.0, apart + np.trace(C_a) + np.trace(C_b) - 2 * cross))
