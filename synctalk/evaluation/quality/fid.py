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
    """Mean and covariance of vectors that come one by one, of which no more are kept than needed.

    Rows ``[1, v]`` and the triangle of their QR decomposition have the same products, so the
    triangle stands for however many rows. Its first row is the mean's, the others' products are
    the scatter about it.
    """

    def __init__(self, dim: int = FEATURES) -> None:
        """No vector yet."""
        self.n, self.dim = 0, dim
        self._rows: list[Array] = []

    def add(self, vector: Array) -> None:
        """Take in one vector [D]."""
        self.n += 1
        self._rows.append(np.concatenate([[1.0], vector]))
        if len(self._rows) > 2 * (self.dim + 1):
            self._rows = list(self._triangle())

    def moments(self) -> tuple[Array, Array]:
        """Mean [D], and a factor ``F`` [R,D] of the unbiased covariance ``FᵀF``; R < n, R <= D."""
        triangle = self._triangle()
        return triangle[0, 1:] / triangle[0, 0], triangle[1:, 1:] / np.sqrt(self.n - 1)

    def _triangle(self) -> Array:
        return np.asarray(np.linalg.qr(np.stack(self._rows), mode="r"))


def frechet_distance(a: Cloud, b: Cloud) -> float:
    """Squared Fréchet distance of the normal distributions fitted to two clouds.

    ``|m_a - m_b|² + tr(C_a + C_b - 2 (C_a C_b)^½)``. With ``C = FᵀF`` the root's trace is the sum
    of the singular values of ``F_a F_bᵀ``, a matrix no larger than there are frames: no complex
    roots, no added diagonal.

    Raises:
        InputError: fewer than two vectors, or unequal dimensions.
    """
    if min(a.n, b.n) < 2 or a.dim != b.dim:
        raise InputError(
            f"Clouds of {a.n} and {b.n} vectors have no Fréchet distance.",
            reason="TOO_FEW_FRAMES",
            remedy="Give at least two frames of each video.",
        )
    (m_a, F_a), (m_b, F_b) = a.moments(), b.moments()
    cross = np.linalg.svd(F_a @ F_b.T, compute_uv=False).sum()
    apart = np.square(m_a - m_b).sum()
    return float(max(0.0, apart + np.square(F_a).sum() + np.square(F_b).sum() - 2 * cross))
