"""SyncNet-style judge of whether lips and speech belong together (METHOD row 1; our own weights).

Both sides become short vectors a frame: encoder rows on the one hand, tracked lip shapes on the
other. Over a window each side's mean is taken away, and the cosine between the two stretches says
how well they go together; speaker, room and resting face are constant over a window and so drop
out. Its scores are "LSE (own)": the published SyncNet's LSE-C and LSE-D are other numbers.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from synctalk.errors import InputError, MissingModelError
from synctalk.face_sync.encoder import LAYOUT
from synctalk.face_sync.lip_features import INNER_LIP, OUTER_LIP

DISCRIMINATOR_WEIGHTS = Path(__file__).parent / "weights" / "discriminator.safetensors"
REACH = 15  # frames of lag searched either way
SHAPE_POINTS = OUTER_LIP + INNER_LIP
SHAPE_DIM = 2 * len(SHAPE_POINTS)
_LIPS, _WIDTH, _EMBEDDING = 8, 48, 24
_RIGID = (33, 133, 362, 263, 168, 6, 197, 195, 5, 4, 98, 327)  # eye corners and nose


class SyncScore(NamedTuple):
    """How well lips follow speech.

    Args:
        confidence: cosine at no lag minus the median over all lags, -2 to 2; above 0 for sync.
        lag_frames: lag at which they fit best; positive when the lips come after the sound.
        cosines: [2 * REACH + 1] cosine at lags -REACH to REACH.
    """

    confidence: float
    lag_frames: int
    cosines: Tensor


class SyncDiscriminator(nn.Module):
    """Two small networks into one space. ``SyncDiscriminator.pretrained()`` is the shipped one."""

    feature_mean: Tensor
    feature_scale: Tensor
    shape_basis: Tensor

    def __init__(self) -> None:
        """Make an untrained one."""
        super().__init__()
        self.register_buffer("feature_mean", torch.zeros(LAYOUT.dim))
        self.register_buffer("feature_scale", torch.ones(LAYOUT.dim))
        self.register_buffer("shape_basis", torch.zeros(SHAPE_DIM, _LIPS))
        self.audio = _branch(LAYOUT.dim)
        self.lips = _branch(_LIPS)
        self.sharpness = nn.Parameter(torch.tensor(6.0))
        self.offset = nn.Parameter(torch.tensor(-1.0))

    @classmethod
    def pretrained(cls, path: Path = DISCRIMINATOR_WEIGHTS) -> SyncDiscriminator:
        """The one with trained weights, frozen.

        Raises:
            MissingModelError: the weights are absent or not this network's.
        """
        judge = cls()
        try:
            judge.load_state_dict({k: v.float() for k, v in load_file(path).items()})
        except (OSError, SafetensorError, RuntimeError) as error:
            raise MissingModelError(
                f"The sync discriminator's weights at {path} cannot be loaded.",
                reason="DISCRIMINATOR_WEIGHTS_UNUSABLE",
                remedy="Reinstall synctalk, or run synctalk pretrain-encoder.",
            ) from error
        return judge.requires_grad_(False).eval()

    def embed_audio(self, features: Tensor) -> Tensor:
        """Encoder rows [..., T, D] to [..., T, 24]."""
        found: Tensor = self.audio((features - self.feature_mean) / self.feature_scale)
        return found

    def embed_lips(self, shapes: Tensor) -> Tensor:
        """Lip shapes [..., T, 80] of one person (:func:`lip_shapes`) to [..., T, 24]."""
        found: Tensor = self.lips(shapes @ self.shape_basis)
        return found

    @torch.inference_mode()
    def judge(self, features: Tensor, shapes: Tensor) -> SyncScore:
        """Judge a clip.

        Args:
            features: [T, D] rows of the default encoder head.
            shapes: [T, 80] of :func:`lip_shapes`, the same frames.

        Raises:
            InputError: lengths differ, or the clip is shorter than 2 * REACH + 10 frames.
        """
        frames = len(shapes)
        if len(features) != frames or frames < 2 * REACH + 10:
            raise InputError(
                f"Sync needs as many feature rows as frames, at least {2 * REACH + 10}; got "
                f"{len(features)} and {frames}.",
                reason="BAD_SYNC_CLIP",
            )
        audio, lips = self.embed_audio(features), self.embed_lips(shapes)
        found = torch.stack(
            [
                cosine(
                    audio[max(0, -lag) : frames - max(0, lag)],
                    lips[max(0, lag) : frames - max(0, -lag)],
                )
                for lag in range(-REACH, REACH + 1)
            ]
        )
        confidence = float(found[REACH] - found.median())
        return SyncScore(confidence, int(found.argmax()) - REACH, found)


def _branch(inputs: int) -> nn.Module:
    return _Frames(
        nn.Sequential(
            nn.Dropout1d(0.2),
            nn.Conv1d(inputs, _WIDTH, 5, padding=2),
            nn.GELU(),
            nn.Dropout(0.5),
            nn.Conv1d(_WIDTH, _EMBEDDING, 3, padding=1),
        )
    )


class _Frames(nn.Module):
    """A network over time for [..., T, C] input."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> Tensor:
        lead = x.shape[:-2]
        flat = x.reshape(-1, *x.shape[-2:]).transpose(1, 2)
        found: Tensor = self.network(flat).transpose(1, 2)
        return found.reshape(*lead, *found.shape[-2:])


def cosine(audio: Tensor, lips: Tensor) -> Tensor:
    """[...] cosine between stretches [..., T, C], each without its mean over the stretch."""
    a, b = (x - x.mean(-2, keepdim=True) for x in (audio, lips))
    return torch.cosine_similarity(a.flatten(-2), b.flatten(-2), dim=-1)


def lip_shapes(mesh: Tensor, valid: Tensor) -> Tensor:
    """Where the lip points are beside the clip's average, in units of the distance of the eyes.

    Args:
        mesh: [T, 478, 2 or 3] tracked points in pixels, one person.
        valid: [T] bool, frames in which the face was found; the others get the average shape.

    Returns:
        [T, 80] x and y of the forty lip points, turned and scaled with eyes and nose.
    """
    points = torch.view_as_complex(mesh[..., :2].double().contiguous())
    rigid = points[:, list(_RIGID)]
    reference = rigid[valid].mean(0)
    reference = (reference - reference.mean()) / (reference[3] - reference[0])  # eyes level
    centre = rigid.mean(1, keepdim=True)
    scale = ((rigid - centre).conj() * reference).sum(1, keepdim=True)
    turn = scale / (rigid - centre).abs().square().sum(1, keepdim=True).clamp_min(1e-9)
    lips = (points[:, list(SHAPE_POINTS)] - centre) * turn
    shapes = torch.view_as_real(lips).flatten(1).float()
    shapes = shapes - shapes[valid].mean(0)
    return torch.where(valid[:, None], shapes, torch.zeros_like(shapes))
