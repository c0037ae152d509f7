"""Which meters the wanted metrics call for, and which of them cannot be had."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from synctalk.evaluation.metrics import MS_MIN_SIDE, WINDOW, psnr, similarities, ssim
from synctalk.evaluation.quality.fid import load_inception
from synctalk.evaluation.quality.hyperiqa import HyperIqa
from synctalk.evaluation.quality.identity import Identity
from synctalk.evaluation.quality.lpips import Lpips, Net
from synctalk.evaluation.quality.meters import (
    TOO_SHORT,
    Fid,
    LipJudge,
    Meter,
    PerFrame,
    View,
    too_small,
)
from synctalk.evaluation.quality.models import QualityModels
from synctalk.evaluation.quality.motion import flicker
from synctalk.evaluation.quality.naturalness import Brisque, Niqe
from synctalk.evaluation.quality.spec import Absent
from synctalk.evaluation.quality.syncnet import FPS, SyncNet, face_squares
from synctalk.face.tracking import FaceTrack

NO_SOURCE = Absent(
    "NO_SOURCE_TRACK", "Give VideoScorer the track of the source frames, source=tracker.track(…)."
)
NO_AUDIO = Absent("NO_AUDIO", "Give VideoScorer the sound that the frames follow, audio=….")
NO_TRACKER = Absent("NO_TRACKER", "Give VideoScorer a face tracker, tracker=….")
NO_OPENFACE = Absent(
    "NO_OPENFACE_FILES",
    "Run OpenFace's FeatureExtraction -aus on both videos; `openface` in a plan gives its tables.",
)
NO_HEAD = Absent("NO_HEAD_MASK", "Give the frames' head masks, add(…, head=…).")
NO_MOUTH = Absent("NO_MOUTH_MASK", "Give mouth masks, add(…, mouth=…), or the source's track.")
NO_FACE = Absent("NO_FACE", "No frame has a face in both videos.")
NOT_25_FPS = Absent(
    "NOT_25_FPS", "Convert the video to 25 frames a second: SyncNet knows no other."
)


@dataclass(frozen=True)
class Inputs:
    """What a scorer was given beside the frames.

    Args:
        models: where files are searched.
        source: track of the source frames, or None.
        audio: [N] at 16 kHz, or None.
        fps: frames per second.
        cuts: frames that begin a new shot.
    """

    models: QualityModels
    source: FaceTrack | None
    audio: NDArray[np.float32] | None
    fps: int
    cuts: tuple[int, ...]


def choose_meters(names: Collection[str], inputs: Inputs) -> tuple[list[Meter], dict[str, Absent]]:
    """Meters for those of the names that are measured frame by frame.

    Returns:
        The meters, and the metrics that none of them can give.

    Raises:
        MissingModelError: a model file is there but cannot be used.
    """
    meters: list[Meter] = []
    absent: dict[str, Absent] = {}
    for own, make in _MAKERS.items():
        if any(name in names for name in own):
            made = make(inputs)
            if isinstance(made, Absent):
                absent |= dict.fromkeys(own, made)
            else:
                meters.append(made)
    return meters, absent


def _pixels(inputs: Inputs) -> Meter:
    def measure(view: View) -> dict[str, float]:
        found = {"psnr": psnr(view.frame, view.reference)}
        for name, mask in (("psnr_head", view.head), ("psnr_mouth", view.mouth)):
            if mask is not None and mask.any():
                found[name] = psnr(view.frame, view.reference, mask)
        return found

    return PerFrame({"psnr": TOO_SHORT, "psnr_head": NO_HEAD, "psnr_mouth": NO_MOUTH}, measure)


def _structure(inputs: Inputs) -> Meter:
    def measure(view: View) -> dict[str, float]:
        if min(view.frame.shape[:2]) < MS_MIN_SIDE:
            return {"ssim": ssim(view.frame, view.reference)}
        found = similarities(view.frame, view.reference, view.mouth)
        values = {"ssim": found.ssim, "ms_ssim": found.ms_ssim}
        if view.mouth is not None and math.isfinite(found.ssim_masked):
            values["ssim_mouth"] = found.ssim_masked
        return values

    small = too_small(MS_MIN_SIDE)
    missing = {"ssim": TOO_SHORT, "ms_ssim": small, "ssim_mouth": NO_MOUTH}
    return PerFrame(missing, measure, least_side=WINDOW)


def _flicker(inputs: Inputs) -> Meter:
    def measure(view: View) -> dict[str, float]:
        if view.before is None:
            return {}
        before, frame_before = view.before
        return {"flicker": flicker(view.frame, frame_before, view.reference, before)}

    return PerFrame({"flicker": TOO_SHORT}, measure)


def _lpips(net: Net) -> Callable[[Inputs], Meter | Absent]:
    name = f"lpips_{net}"

    def make(inputs: Inputs) -> Meter | Absent:
        found = Lpips.load(net, inputs.models)
        if isinstance(found, Absent):
            return found

        def measure(view: View) -> dict[str, float]:
            return {name: found.distance(view.frame, view.reference)}

        return PerFrame({name: TOO_SHORT}, measure, least_side=Lpips.LEAST_SIDE)

    return make


def _fid(inputs: Inputs) -> Meter | Absent:
    network = load_inception(inputs.models)
    return network if isinstance(network, Absent) else Fid(network)


def _niqe(inputs: Inputs) -> Meter | Absent:
    judge = Niqe.load(inputs.models)
    if isinstance(judge, Absent):
        return judge
    return PerFrame(
        {"niqe": TOO_SHORT},
        lambda view: {"niqe": judge.score(judge.features(view.frame))},
        least_side=Niqe.LEAST_SIDE,
    )


def _brisque(inputs: Inputs) -> Meter | Absent:
    judge = Brisque.load(inputs.models)
    if isinstance(judge, Absent):
        return judge
    return PerFrame(
        {"brisque": TOO_SHORT},
        lambda view: {"brisque": judge.score(view.frame)},
        least_side=Brisque.LEAST_SIDE,
    )


def _hyperiqa(inputs: Inputs) -> Meter | Absent:
    judge = HyperIqa.load(inputs.models)
    if isinstance(judge, Absent):
        return judge
    # ten crops through a ResNet-50: one frame a second is enough of a clip
    return PerFrame(
        {"hyperiqa": TOO_SHORT},
        lambda view: {"hyperiqa": judge.score(view.frame)},
        every=inputs.fps,
    )


def _identity(inputs: Inputs) -> Meter | Absent:
    judge, source = Identity.load(inputs.models), inputs.source
    if isinstance(judge, Absent):
        return judge
    if source is None:
        return NO_SOURCE

    def measure(view: View) -> dict[str, float]:
        if not source.found[view.index]:
            return {}
        points = source.landmarks68[view.index]
        return {"identity": judge.similarity(view.frame, view.reference, points)}

    return PerFrame({"identity": NO_FACE}, measure)


def _lip_judge(inputs: Inputs) -> Meter | Absent:
    network = SyncNet.load(inputs.models)
    if isinstance(network, Absent):
        return network
    if inputs.source is None:
        return NO_SOURCE
    if inputs.audio is None:
        return NO_AUDIO
    if inputs.fps != FPS:
        return NOT_25_FPS
    squares = face_squares(inputs.source, inputs.cuts)
    return LipJudge(network, squares, inputs.audio, inputs.cuts)


_MAKERS: Mapping[tuple[str, ...], Callable[[Inputs], Meter | Absent]] = {
    ("psnr", "psnr_head", "psnr_mouth"): _pixels,
    ("ssim", "ssim_mouth", "ms_ssim"): _structure,
    ("lpips_alex",): _lpips("alex"),
    ("lpips_vgg",): _lpips("vgg"),
    ("lpips_squeeze",): _lpips("squeeze"),
    ("fid",): _fid,
    ("niqe",): _niqe,
    ("brisque",): _brisque,
    ("hyperiqa",): _hyperiqa,
    ("lse_c", "lse_d"): _lip_judge,
    ("flicker",): _flicker,
    ("identity",): _identity,
}
