"""The clean background behind a person, and each frame with the head taken out.

The torso plate is what rendered head Gaussians are composited on. Outside the erased area it is the
source frame, pixel for pixel. Inside, background is laid in from other frames, fitted in brightness
to this one, and neck and collar are continued upwards a little way under the jaw, so that a jaw
which opens less or more than in the source uncovers skin and never a sliver of background.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from synctalk.face.parsing_matte import fill_coarsely, fill_smoothly, smoothstep
from synctalk.face.tracking import FloatArray, Image

_LEAST_REACH = 4  # working px that clothes and hair go on behind the head
_RIM = 4.0  # px at a frame size of 512: how far the body's rim goes on sharply behind the head
_CLOTHES_SHARE = 0.005  # what is hidden behind the jaw is skin sooner than collar


@dataclass(frozen=True)
class Background:
    """The empty scene behind the person.

    Args:
        image: uint8 [H, W, 3] RGB; where it was never seen, its surroundings continued.
        seen: bool [H, W], where it was seen in enough frames.
        trust: float32 [H, W] in [0, 1], 1 where it was seen and stands still.
    """

    image: Image
    seen: NDArray[np.bool_]
    trust: FloatArray

    @property
    def coverage(self) -> float:
        """Part of the image where the background was seen, 0..1."""
        return float(self.seen.mean())

    @property
    def stillness(self) -> float:
        """Mean trust where seen, 0..1; below about 0.8 the background moves."""
        return float(self.trust[self.seen].mean()) if self.seen.any() else 0.0


def _masked_median(stack: NDArray[np.uint8], visible: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """Median over axis 0 of ``stack`` [N, W, 3] where ``visible`` [N, W]; 255 where nowhere."""
    hidden = np.where(visible[..., None], stack, np.uint8(255))
    hidden = np.ascontiguousarray(np.moveaxis(hidden, 0, -1))  # sorts faster in memory's order
    hidden.sort(axis=-1)
    middle = np.maximum(visible.sum(0) - 1, 0) // 2
    return np.asarray(np.take_along_axis(hidden, middle[:, None, None], -1)[..., 0], np.uint8)


def _enlarged(mask: NDArray[np.bool_], height: int, width: int) -> NDArray[np.bool_]:
    full = cv2.resize(mask.astype(np.uint8), (width, height), interpolation=cv2.INTER_NEAREST)
    return np.asarray(full > 0)


def fit_background(frames: list[Image], visible: list[NDArray[np.bool_]]) -> Background:
    """Robust median of what is seen past the person.

    Args:
        frames: uint8 [H, W, 3] each, spread over the clip.
        visible: bool [h, w] each, where the frame surely shows background.
    """
    height, width = frames[0].shape[:2]
    visible = [_enlarged(mask, height, width) for mask in visible]
    image, spread = np.empty_like(frames[0]), np.empty((height, width), np.float32)
    count = np.sum(visible, axis=0)
    for y in range(height):  # row by row: memory stays small
        row = np.stack([f[y] for f in frames])
        seen = np.stack([m[y] for m in visible])
        image[y] = _masked_median(row, seen)
        off = cv2.absdiff(row, np.broadcast_to(image[y], row.shape))
        total = off[..., 0].astype(np.uint16) + off[..., 1] + off[..., 2]
        spread[y] = (total * seen).sum(0) / (3 * np.maximum(count[y], 1))
    seen_enough = count >= max(2, round(0.04 * len(frames)))
    trust = seen_enough * (1 - smoothstep(cv2.blur(spread, (9, 9)), 5.0, 15.0))
    filled = fill_smoothly(image.astype(np.float32), seen_enough.astype(np.float32))
    restless = (seen_enough * (1 - trust))[..., None]
    filled += (cv2.GaussianBlur(filled, (0, 0), height / 32) - filled) * restless  # no ghosts
    clean = np.round(filled).clip(0, 255).astype(np.uint8)
    return Background(clean, seen_enough, trust.astype(np.float32))


def background_now(small: Image, background: Background, visible: NDArray[np.bool_]) -> FloatArray:
    """How this frame's background differs from the clean one, continued behind the person.

    Args:
        small: uint8 [h, w, 3], the frame at working size.
        visible: bool [h, w], where it surely shows background.

    Returns:
        float32 [h, w, 3], smooth, grey levels to add to the clean background.
    """
    clean = cv2.resize(background.image, small.shape[1::-1], interpolation=cv2.INTER_AREA)
    difference = small.astype(np.float32) - clean
    return fill_coarsely(difference, visible.astype(np.float32))


def _hidden_body(body: FloatArray, erased: FloatArray, top: FloatArray) -> FloatArray:
    """Continue the body's coverage [s, s] upwards into the erased area, column by column.

    Args:
        top: [s] px, the height y up to which each column is continued, at least a little.
    """
    size = body.shape[0]
    rows = np.arange(size)[:, None]
    inside = erased > 0.5
    lowest = np.where(inside, rows, -1).max(0)
    under = np.minimum(lowest + 2, size - 1)
    is_body = body[under, np.arange(size)] * (lowest >= 0)
    up = (rows <= lowest) * np.clip(rows - np.minimum(top, lowest - _LEAST_REACH) + 0.5, 0, 1)
    return np.where(inside, is_body[None] * up, body).astype(np.float32)


@dataclass(frozen=True)
class PlateInputs:
    """One frame's working maps for its plate.

    Args:
        small: uint8 [s, s, 3], the frame at working size.
        offset: [s, s, 3] from :func:`background_now`.
        body: [s, s] coverage of neck and torso.
        matte: [S, S] head alpha at full size.
        neck_span: (left, right) working px, columns under the jaw.
        neck: [s, s] probability that a pixel of the body is bare neck.
        neck_top: [s] px, the height y up to which the neck goes on behind the face.
    """

    small: Image
    offset: FloatArray
    body: FloatArray
    matte: FloatArray
    neck_span: tuple[float, float]
    neck: FloatArray
    neck_top: FloatArray


def erase_mask(matte: FloatArray | Image, margin: int) -> NDArray[np.uint8]:
    """Pixels that any of the head touches, and ``margin`` px around them: uint8 [S, S], 0 or 1."""
    touched = (matte > 0).astype(np.uint8)
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * margin + 1, 2 * margin + 1))
    return np.asarray(cv2.dilate(touched, kernel), np.uint8)


def _body_layer(inputs: PlateInputs, erased: FloatArray) -> NDArray[np.uint8]:
    """Neck and clothes, continued behind the head: uint8 [s, s, 4], colour and coverage."""
    size = len(erased)
    columns = np.arange(size, dtype=np.float32)
    left, right = inputs.neck_span
    near = smoothstep(columns, left - 4, left) * (1 - smoothstep(columns, right, right + 4))
    body = _hidden_body(inputs.body, erased, size + near * (inputs.neck_top - size))
    body = np.where(erased > 0.5, cv2.blur(body, (3, 3)), body)
    source = (inputs.body > 0.9) & (cv2.dilate(erased, np.ones((3, 3), np.uint8)) < 0.01)
    weight = source * (_CLOTHES_SHARE + (1 - _CLOTHES_SHARE) * inputs.neck)
    colour = fill_smoothly(inputs.small.astype(np.float32), weight.astype(np.float32))
    layer = np.dstack([colour, body * 255])
    return np.asarray(np.round(layer).clip(0, 255), np.uint8)


def _continue_rim(
    fill: FloatArray, frame: Image, erased: NDArray[np.uint8], body: NDArray[np.uint8], reach: float
) -> FloatArray:
    """Let the pixels just outside the erased area go on into it where body borders on it.

    A collar that meets the jaw stays a sharp collar for a few pixels; without this, splats would
    learn to paint it and carry it about with the head.

    Args:
        fill: [h, w, 3] what is laid in; frame: [h, w, 3]; erased: [h, w] 0 or 1.
        body: [h, w] coverage of neck and torso, 0..255.
        reach: px over which the continued pixels fade into ``fill``.
    """
    if erased.all():
        return fill
    distance, nearest = cv2.distanceTransformWithLabels(
        erased, cv2.DIST_L2, cv2.DIST_MASK_5, labelType=cv2.DIST_LABEL_PIXEL
    )
    ring = np.nonzero((erased > 0) & (distance < 3 * reach) & (body > 0))
    outside = np.flatnonzero(erased == 0)  # in the order of their labels 1, 2, ...
    colours = frame.reshape(-1, 3)[outside[nearest[ring] - 1]].astype(np.float32)
    weight = np.exp(-((distance[ring] / reach) ** 2)) * body[ring] * np.float32(1 / 255)
    fill[ring] += (colours - fill[ring]) * weight[:, None]
    return fill


def torso_plate(frame: Image, background: Background, inputs: PlateInputs, margin: int) -> Image:
    """``frame`` with the head taken out, uint8 [S, S, 3]."""
    plate = frame.copy()
    erased = erase_mask(inputs.matte, margin)
    x, y, w, h = cv2.boundingRect(erased)
    if not w:
        return plate
    full, small = erased.shape, inputs.small.shape[:2]
    small_erased = cv2.resize(erased * np.float32(1), small, interpolation=cv2.INTER_AREA)
    box = (slice(y, y + h), slice(x, x + w))
    body = cv2.resize(_body_layer(inputs, small_erased), full)[box]
    offset = cv2.resize(np.round(inputs.offset).astype(np.int16), full)[box]
    behind = (background.image[box] + offset).astype(np.float32)
    inside = erased[box].astype(np.float32)
    weight = (cv2.blur(inside, (3, 3)) * inside)[..., None]
    fill = behind + (body[..., :3] - behind) * (body[..., 3:] * np.float32(1 / 255))
    fill = _continue_rim(fill, plate[box], erased[box], body[..., 3], _RIM * full[0] / 512)
    blended = plate[box] + (fill - plate[box]) * weight
    plate[box] = np.round(blended).clip(0, 255).astype(np.uint8)
    return plate
