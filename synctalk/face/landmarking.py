"""The face mesh in one square of an image: a plain network, and one with attention.

The attention network (Grishchenko et al. 2020, "Attention Mesh") follows lips and eyes far better:
on real speech the plain one shows 0.3 to 0.6 of the lip gap. Its file needs three operations that
ai-edge-litert lacks (crop matrices from landmarks, bilinear crops of a feature map, and the way
back). They are a few lines of geometry, so the graph is cut there into two networks and the
geometry is done here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import flatbuffers  # type: ignore[import-untyped]
import numpy as np
from ai_edge_litert import schema_py_generated as schema
from numpy.typing import NDArray

from synctalk.face import topology
from synctalk.face.models import require_model
from synctalk.face.networks import Network, Roi
from synctalk.face.tracking import FloatArray, Image

CROP = 192  # px, input of both networks
STRIDE = 4  # input px per cell of the feature map
WINDOW = 16  # cells, side of a region's crop
REGION_SCALE = 1.5
_MARGIN = 2  # cells of zeros around the feature map
ATTENTION_MODEL = "face_landmark_with_attention.tflite"


@dataclass(frozen=True)
class FaceMesh:
    """One frame's mesh [478, 3] px and presence score in [0, 1]."""

    points: FloatArray
    score: float


def _sigmoid(logit: FloatArray) -> float:
    return float(1 / (1 + np.exp(-np.clip(logit.reshape(-1)[0], -80, 80))))


def _to_mesh(points: FloatArray, roi: Roi) -> FloatArray:
    """[478, 3] in image px from [468 or 478, 3] in px of the crop; absent irises are zero."""
    mesh = np.zeros((topology.N_MESH, 3), np.float32)
    mesh[: len(points)] = roi.to_image(points / np.float32(CROP))
    return mesh


class Landmarker:
    """The plain network: quick, good enough to say where the face is. Irises stay zero."""

    def __init__(self) -> None:
        """Load the network; MissingModelError when its file is absent."""
        self._network = Network(require_model("face_landmark.tflite"))

    def __call__(self, image: Image, roi: Roi) -> FaceMesh:
        """The mesh of the face in ``roi``."""
        points, flag = self._network(roi.crop(image, CROP)[None])
        return FaceMesh(_to_mesh(points.reshape(-1, 3), roi), _sigmoid(flag))


@dataclass(frozen=True)
class _Window:
    """A rotated rectangle of the feature map: cell = linear @ (window cell) + origin."""

    linear: NDArray[np.float64]
    origin: NDArray[np.float64]

    def crop(self, padded: FloatArray) -> FloatArray:
        """[1, 16, 16, C] bilinear samples of a map padded by ``_MARGIN``; zero outside."""
        steps = np.arange(WINDOW)
        grid = np.stack(np.meshgrid(steps, steps), axis=-1).reshape(-1, 2)
        return _bilinear(padded, grid @ self.linear.T + self.origin)

    def to_crop(self, points: FloatArray) -> FloatArray:
        """[N, 2] px of the 192 crop from px of the window (4 a cell)."""
        moved = points.reshape(-1, 2) @ self.linear.T + STRIDE * self.origin
        return np.asarray(moved, np.float32)


def _bilinear(padded: FloatArray, at: NDArray[np.float64]) -> FloatArray:
    """[1, 16, 16, C] samples at [256, 2] cells of a feature map padded by ``_MARGIN``."""
    height, width, channels = padded.shape
    at = np.clip(at + _MARGIN, 0, [width - 2, height - 2])
    low = at.astype(np.int64)
    u, v = (at - low).T.astype(np.float32)
    first = low[:, 1] * width + low[:, 0]
    flat = padded.reshape(-1, channels)
    corners = ((0, (1 - u) * (1 - v)), (1, u * (1 - v)), (width, (1 - u) * v), (width + 1, u * v))
    parts = [flat[first + step] * weight[:, None] for step, weight in corners]
    return np.sum(parts, axis=0, dtype=np.float32).reshape(1, WINDOW, WINDOW, channels)


def _window(points: FloatArray, region: Sequence[int], corners: tuple[int, int]) -> _Window:
    """The rectangle around a region's points, turned to the line between its corners.

    The network's operations are not documented; this form (no squaring of the rectangle, its
    centre between the middle cells) is the one of those tried that agreed best with the truth of
    the virtual subject.
    """
    x, y = points[corners[1]] - points[corners[0]]
    c, s = np.array([x, y]) / max(float(np.hypot(x, y)), 1e-6)
    rotation = np.array([[c, -s], [s, c]])
    turned = points[list(region)] @ rotation
    low, high = turned.min(0), turned.max(0)
    linear = rotation * (REGION_SCALE * (high - low) / WINDOW)
    centre = rotation @ ((low + high) / 2)
    return _Window(linear, centre - linear @ np.full(2, (WINDOW - 1) / 2))


def _cut(model: bytes, inputs: Sequence[str], outputs: Sequence[str]) -> bytes:
    """The part of a TFLite graph that computes ``outputs`` from ``inputs`` (tensor names)."""
    tree = schema.ModelT.InitFromObj(schema.Model.GetRootAsModel(model, 0))
    graph = tree.subgraphs[0]
    index = {tensor.name.decode(): i for i, tensor in enumerate(graph.tensors)}
    graph.inputs = np.array([index[name] for name in inputs], np.int32)
    graph.outputs = np.array([index[name] for name in outputs], np.int32)
    given, needed, kept = set(graph.inputs), set(graph.outputs), []
    for operator in reversed(graph.operators):
        if needed.intersection(operator.outputs):
            kept.append(operator)
            needed |= set(operator.inputs) - given
    graph.operators = kept[::-1]
    tree.signatureDefs = None
    builder = flatbuffers.Builder(len(model))
    builder.Finish(tree.Pack(builder), b"TFL3")
    return bytes(builder.Output())


@lru_cache(maxsize=1)
def _attention_parts(model: bytes) -> tuple[bytes, bytes]:
    """The network before the regions are cropped, and the regions' networks."""
    crop = "transform_tensor_bilinear_v2"
    heads = ("lips", "left_eye", "left_iris", "right_eye", "right_iris")  # left: at image left
    trunk = _cut(model, ("input_1",), ("output_mesh", "p_re_lu_3", "conv_faceflag"))
    regions = _cut(model, (crop, f"{crop}_1", f"{crop}_2"), [f"conv_{head}" for head in heads])
    return trunk, regions


class RefinedLandmarker:
    """The attention network: 468 points with precise lips and eyes, and the irises."""

    def __init__(self) -> None:
        """Load the network; MissingModelError when its file is absent."""
        trunk, regions = _attention_parts(require_model(ATTENTION_MODEL).read_bytes())
        self._trunk = Network(trunk)
        self._regions = Network(regions)

    def __call__(self, image: Image, roi: Roi) -> FaceMesh:
        """The mesh of the face in ``roi``."""
        raw, features, flag = self._trunk(roi.crop(image, CROP)[None])
        points = np.zeros((topology.N_MESH, 3), np.float32)
        points[: topology.N_FACE] = raw.reshape(-1, 3)
        self._refine(points, features[0])
        return FaceMesh(_to_mesh(points, roi), _sigmoid(flag))

    def _refine(self, points: FloatArray, features: FloatArray) -> None:
        """Overwrite lips, eyes and irises (x, y; the depth stays the mesh's), crop px."""
        t = topology
        cells: FloatArray = points[:, :2] / np.float32(STRIDE)
        lips = _window(cells, t.LIPS_REGION, (61, 291))
        right = _window(cells, t.RIGHT_EYE_REGION, (33, 133))
        left = _window(cells, t.LEFT_EYE_REGION, (362, 263))
        padded = np.pad(features, ((_MARGIN,) * 2, (_MARGIN,) * 2, (0, 0)))
        outputs = self._regions(*(window.crop(padded) for window in (lips, right, left)))
        windows = (lips, right, right, left, left)
        groups = (
            *(t.LIPS_REGION, t.RIGHT_EYE_REGION, t.RIGHT_IRIS),
            *(t.LEFT_EYE_REGION, t.LEFT_IRIS),
        )
        for window, group, output in zip(windows, groups, outputs, strict=True):
            points[list(group), :2] = window.to_crop(output)
        for iris, corners in ((t.RIGHT_IRIS, (33, 133)), (t.LEFT_IRIS, (263, 362))):
            points[list(iris), 2] = points[list(corners), 2].mean()
