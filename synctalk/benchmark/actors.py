"""What each method shows of a scene: crop frames, plain and blended into the source."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import tee
from typing import TYPE_CHECKING, NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from synctalk.avatar import Avatar, Driving
from synctalk.benchmark.scene import Scene
from synctalk.dataset import SubjectDataset
from synctalk.dubbing import dubbed_frames
from synctalk.expression import ProsodicExpression, measure_prosody
from synctalk.face_sync import LAYOUT, AudioVisualEncoder, LipRegressor, fit_lip_regressor
from synctalk.face_sync.augment import features_of_strangers
from synctalk.media import yuv_to_rgb

if TYPE_CHECKING:
    from synctalk.evaluation.protocol import TalkingHead

Image = NDArray[np.uint8]
Floats = NDArray[np.float32]


class Shown(NamedTuple):
    """One frame.

    Args:
        plain: [S,S,3] as the method makes it; blended: [S,S,3] as it is delivered. One is None
            where a method has only the other.
        source: [S,S,3] the frame of the footage under it.
    """

    plain: Image | None
    blended: Image | None
    source: Image


class Actor(Protocol):
    """A method that is ready to show scenes."""

    def show(self, scene: Scene) -> Iterator[Shown]:
        """The frames of a scene, in order."""
        ...

    def opening_mm(self, scene: Scene) -> Floats | None:
        """[T] how far it means the mouth to open; None where it does not say."""
        ...


class SourceActor:
    """The video as it is."""

    def show(self, scene: Scene) -> Iterator[Shown]:
        """The source frames."""
        for frame in scene.frames():
            yield Shown(frame, frame, frame)

    def opening_mm(self, scene: Scene) -> Floats | None:
        """It means nothing."""
        return None


@dataclass(frozen=True)
class AvatarActor:
    """An avatar, or a baseline that renders as one.

    Args:
        head: what renders.
        lips: ``"audio"``, ``"tracked"``, ``"mean"``, or ``"mel"`` by ``regressor``.
        regressor: lips from log-mels alone.
        torso: restore the neck under a foreign sound.
        generated: brows and lids by the voice under a foreign sound.
        seed: of what is generated.
    """

    head: TalkingHead
    lips: str = "audio"
    regressor: LipRegressor | None = None
    torso: bool = True
    generated: bool = True
    seed: int = 0

    def show(self, scene: Scene) -> Iterator[Shown]:
        """Under own sound plain and blended, under a foreign one as the product dubs."""
        driving = self._driving(scene)
        if not scene.own and isinstance(self.head, Avatar):
            yield from self._dubbed(self.head, scene, driving)
            return
        pairs, again = tee(scene.pictures())
        meshes = scene.dataset.tracks.mesh[scene.order]
        rendered = self.head.render(driving, (plate for _, plate in pairs))
        for crop, (frame, _), mesh in zip(rendered, again, meshes, strict=True):
            yield Shown(crop, self.head.blend_portrait(crop, frame, mesh), frame)

    def opening_mm(self, scene: Scene) -> Floats | None:
        """What its lip coefficients ask for."""
        return self.head.mouth_opening_mm(self._driving(scene).lip)

    def _driving(self, scene: Scene) -> Driving:
        whole = self.head.driving_from_tracks(scene.dataset.tracks)
        driving = whole[scene.order]
        if self.lips == "tracked":
            return driving
        if self.lips == "mean":
            usable = scene.dataset.tracks.valid.copy()
            usable[scene.dataset.held_out_range.start :] = False
            mean = whole.lip[usable].mean(0)
            return dataclasses.replace(driving, lip=np.repeat(mean[None], len(driving.lip), 0))
        return dataclasses.replace(driving, lip=self._heard(scene)[scene.rows])

    def _heard(self, scene: Scene) -> Floats:
        if self.regressor is None:
            return self.head.lips_from_audio(scene.features)
        mels = mels_alone(torch.from_numpy(scene.features))
        lips: Floats = self.regressor.predict(mels).numpy()
        return lips

    def _dubbed(self, person: Avatar, scene: Scene, driving: Driving) -> Iterator[Shown]:
        """As the product dubs: portrait, restored neck, brows and lids by the voice."""
        if self.generated and person.has_expression:
            made = ProsodicExpression("natural", seed=self.seed).generate(
                measure_prosody(scene.wav, len(scene))
            )
            upper = person.expression.coefficients(scene.order, made)
            driving = dataclasses.replace(driving, expression=upper)
        crop, size = person.manifest.crop, person.manifest.size
        frames = dubbed_frames(person, driving, scene.order, None, torso=self.torso)
        for frame, source in zip(frames, scene.frames(), strict=True):
            yield Shown(None, crop.cut(yuv_to_rgb(frame), size), source)


def mels_alone(features: torch.Tensor) -> torch.Tensor:
    """Feature rows [T,D] without all that the encoder has learnt: mels and loudness stay."""
    kept = torch.zeros_like(features)
    for part in (LAYOUT.mel, slice(LAYOUT.level, LAYOUT.level + 1)):
        kept[:, part] = features[:, part]
    return kept


def mel_regressor(avatar: Avatar, dataset: SubjectDataset) -> LipRegressor:
    """The subject's lips fitted on log-mels as training fits them on the encoder's features."""
    tracks = dataset.tracks
    valid = tracks.valid & (tracks.score > 0)
    valid[dataset.held_out_range.start :] = False
    rows = features_of_strangers(
        AudioVisualEncoder.pretrained(), torch.from_numpy(dataset.audio()), len(valid)
    )
    return fit_lip_regressor(
        [mels_alone(row) for row in rows],
        torch.from_numpy(avatar.driving_from_tracks(tracks).lip),
        torch.from_numpy(valid),
        dataset.manifest.cuts,
        avatar.space.opening,
    )
