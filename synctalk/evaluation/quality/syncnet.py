"""LSE-C and LSE-D: the published SyncNet's view of lips and speech (Chung and Zisserman 2016).

The network puts 0.2 s of face crops and the same stretch of sound into one space. LSE-D (Prajwal et
al. 2020) is their mean distance at the lag where it is least, LSE-C how far that lies below the
median over all lags. Everything follows the authors' evaluation but the face detector: crops are
taken at the face of a track instead of S3FD's boxes.
"""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from scipy.fft import dct
from scipy.ndimage import median_filter
from torch import Tensor, nn

from synctalk.errors import InputError
from synctalk.evaluation.quality.loading import fill, load_tensors
from synctalk.evaluation.quality.models import SYNCNET, QualityModels
from synctalk.evaluation.quality.spec import Absent
from synctalk.face.topology import N_FACE
from synctalk.face.tracking import FaceTrack
from synctalk.head_sync.geometry import shot_slices

Array = NDArray[np.float64]
Image = NDArray[np.uint8]

SAMPLE_RATE_HZ, FPS = 16_000, 25
WINDOW = 5  # frames seen at once
REACH = 15  # frames of lag either way
LEAST_FRAMES = 100  # of a shot that is judged
SIDE = 224
_MARGIN = 0.4  # of the crop around the face, in half faces
_GREY = 110
_SMOOTHED = 13  # frames
_MFCC_PER_FRAME, _MFCC_WINDOW = 4, 20


class LipSync(NamedTuple):
    """What SyncNet says of a shot.

    Args:
        confidence: LSE-C.
        distance: LSE-D.
        lag_frames: where the distance is least; positive when the lips come after the sound.
    """

    confidence: float
    distance: float
    lag_frames: int


class SyncNet(nn.Module):
    """Face crops and sound to 1024 numbers each."""

    def __init__(self) -> None:
        """Untrained."""
        super().__init__()
        self.netcnnaud = nn.Sequential(
            *(*_sound(1, 64, 3, 1), nn.MaxPool2d(1, 1)),
            *(*_sound(64, 192, 3, 1), nn.MaxPool2d(3, (1, 2))),
            *_sound(192, 384, 3, 1),
            *_sound(384, 256, 3, 1),
            *(*_sound(256, 256, 3, 1), nn.MaxPool2d(3, 2)),
            *_sound(256, 512, (5, 4), 0),
        )
        self.netfcaud, self.netfclip = _head(), _head()
        pool = nn.MaxPool3d((1, 3, 3), (1, 2, 2))
        self.netcnnlip = nn.Sequential(
            *(*_sight(3, 96, (5, 7, 7), 2, 0), pool),
            *(*_sight(96, 256, (1, 5, 5), 2, 1), nn.MaxPool3d((1, 3, 3), (1, 2, 2), (0, 1, 1))),
            *_sight(256, 256, (1, 3, 3), 1, 1),
            *_sight(256, 256, (1, 3, 3), 1, 1),
            *(*_sight(256, 256, (1, 3, 3), 1, 1), pool),
            *_sight(256, 512, (1, 6, 6), 1, 0),
        )

    @classmethod
    def load(cls, models: QualityModels) -> SyncNet | Absent:
        """The published one, or how to get its weights.

        Raises:
            MissingModelError: a file is there but cannot be used.
        """
        path = models.find(SYNCNET)
        if isinstance(path, Absent):
            return path
        network = cls()
        fill(network, load_tensors(path), path)
        return network

    @torch.inference_mode()
    def embed_sound(self, mfcc: Tensor) -> Tensor:
        """[N,1,13,20] to [N,1024]."""
        found: Tensor = self.netfcaud(self.netcnnaud(mfcc).flatten(1))
        return found

    @torch.inference_mode()
    def embed_lips(self, crops: Tensor) -> Tensor:
        """BGR crops [N,3,5,224,224] in [0,255] to [N,1024]."""
        found: Tensor = self.netfclip(self.netcnnlip(crops).flatten(1))
        return found


def _sound(
    inputs: int, outputs: int, kernel: int | tuple[int, int], padding: int
) -> tuple[nn.Module, ...]:
    return nn.Conv2d(inputs, outputs, kernel, 1, padding), nn.BatchNorm2d(outputs), nn.ReLU()


def _sight(
    inputs: int, outputs: int, kernel: tuple[int, int, int], stride: int, padding: int
) -> tuple[nn.Module, ...]:
    convolution = nn.Conv3d(inputs, outputs, kernel, (1, stride, stride), (0, padding, padding))
    return convolution, nn.BatchNorm3d(outputs), nn.ReLU()


def _head() -> nn.Sequential:
    return nn.Sequential(nn.Linear(512, 512), nn.BatchNorm1d(512), nn.ReLU(), nn.Linear(512, 1024))


def mfcc(audio: NDArray[np.float32]) -> Array:
    """[T,13] cepstral coefficients every 10 ms, as python_speech_features 0.6 computes them.

    Args:
        audio: [N] at 16 kHz in [-1,1]; taken as 16-bit numbers, which is how SyncNet learnt it.
    """
    wave = np.round(audio.astype(np.float64) * 32768).clip(-32768, 32767)
    wave = np.append(wave[:1], wave[1:] - 0.97 * wave[:-1])
    step, width, n_fft = 160, 400, 512
    count = 1 + max(0, -(-(len(wave) - width) // step))
    wave = np.pad(wave, (0, max(0, (count - 1) * step + width - len(wave))))
    frames = np.lib.stride_tricks.sliding_window_view(wave, width)[::step][:count]
    power = np.abs(np.fft.rfft(frames, n_fft)) ** 2 / n_fft
    tiny = np.finfo(float).eps
    bands = power @ _filters(n_fft, 26).T
    cepstra = dct(np.log(np.where(bands == 0, tiny, bands)), type=2, norm="ortho")[:, :13]
    cepstra *= 1 + 11 * np.sin(np.pi * np.arange(13) / 22)
    energy = power.sum(1)
    cepstra[:, 0] = np.log(np.where(energy == 0, tiny, energy))
    return np.asarray(cepstra)


def _filters(n_fft: int, count: int) -> Array:
    """[count, n_fft / 2 + 1] triangles evenly spaced in mel."""
    top = 2595 * np.log10(1 + SAMPLE_RATE_HZ / 2 / 700)
    corners = 700 * (10 ** (np.linspace(0, top, count + 2) / 2595) - 1)
    edges = np.floor((n_fft + 1) * corners / SAMPLE_RATE_HZ)
    at = np.arange(n_fft // 2 + 1)
    out = np.zeros((count, len(at)))
    for row, (low, middle, high) in zip(
        out, zip(edges, edges[1:], edges[2:], strict=False), strict=True
    ):
        rising, falling = (at >= low) & (at < middle), (at >= middle) & (at < high)
        row[rising] = (at[rising] - low) / (middle - low)
        row[falling] = (high - at[falling]) / (high - middle)
    return out


def face_squares(track: FaceTrack, cuts: tuple[int, ...]) -> Array:
    """[T,3] centre and half side of every frame's face, px; a median over 13 frames of a shot."""
    points = track.landmarks68 if track.mesh is None else track.mesh[:, :N_FACE, :2]
    low, high = points.min(1), points.max(1)
    if track.mesh is None:  # the forehead, which the 68 points leave out
        low[:, 1] -= 0.3 * (high - low)[:, 1]
    squares = np.column_stack([(low + high) / 2, (high - low).max(1) / 2]).astype(np.float64)
    for shot in shot_slices(len(squares), cuts):
        squares[shot] = median_filter(squares[shot], (_SMOOTHED, 1), mode="nearest")
    return squares


def cut_face(image: Image, square: Array) -> Image:
    """The face with what is around and below it, BGR [224,224,3]; grey beyond the image."""
    x, y, half = square
    reach = int(half * (1 + 2 * _MARGIN)) + 1
    grey = (_GREY, _GREY, _GREY)
    padded = cv2.copyMakeBorder(image, *(reach,) * 4, cv2.BORDER_CONSTANT, value=grey)
    x, y = x + reach, y + reach
    rows = slice(int(y - half), int(y + half * (1 + 2 * _MARGIN)))
    columns = slice(int(x - half * (1 + _MARGIN)), int(x + half * (1 + _MARGIN)))
    return np.asarray(cv2.resize(padded[rows, columns, ::-1], (SIDE, SIDE)), np.uint8)


def judge(network: SyncNet, lips: Tensor, audio: NDArray[np.float32]) -> LipSync:
    """Compare a shot's lips with its sound.

    Args:
        lips: [T-4,1024] of :meth:`SyncNet.embed_lips`, the window that begins at each frame.
        audio: [N] the sound of these T frames, 16 kHz.

    Raises:
        InputError: nothing is left to compare.
    """
    cepstra = torch.from_numpy(mfcc(audio).T.copy()).float()
    n = min(len(lips) + WINDOW - 1, len(audio) * FPS // SAMPLE_RATE_HZ) - WINDOW
    n = min(n, (cepstra.shape[1] - _MFCC_WINDOW) // _MFCC_PER_FRAME + 1)
    if n < 1:
        raise InputError("The shot is too short for SyncNet.", reason="BAD_SYNC_CLIP")
    pieces = cepstra.unfold(1, _MFCC_WINDOW, _MFCC_PER_FRAME)[:, :n].permute(1, 0, 2)[:, None]
    sound = torch.cat([network.embed_sound(part) for part in torch.split(pieces, 64)])
    padded = nn.functional.pad(sound, (0, 0, REACH, REACH))
    seen = lips[:n, None].expand(-1, 2 * REACH + 1, -1)
    apart = nn.functional.pairwise_distance(seen, padded.unfold(0, 2 * REACH + 1, 1).mT)
    by_lag = apart.mean(0)
    least, where = by_lag.min(0)
    return LipSync(float(by_lag.median() - least), float(least), REACH - int(where))
