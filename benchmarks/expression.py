"""Generated expressions against truth: blinks, brows and voice, own range, leaks.

    python benchmarks/expression.py AVATAR DATASET [AVATAR DATASET …]  → results/expression.json

Each avatar's expression is learnt from its dataset anew. Blinks: rate and shape against tracked
blinks of the footage and against the virtual person's exact ones. Brows: correlation with emphasis,
in truth and generated. Range: the share of frames whose eye and brow coefficients lie further from
the subject's nearest own frame than 99 % of its own do from frames of other moments; with and
without the VQ-VAE, for generated tracks and for tracks no face shows. Leak: how far splats around
the lips move when only the expression does, and around the brows when only the lips do, px at 512².
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from scipy.ndimage import gaussian_filter1d
from scipy.signal import find_peaks
from torch import Tensor

from synctalk.avatar import Avatar, Driving
from synctalk.dataset import SubjectDataset
from synctalk.dubbing import play_order
from synctalk.evaluation.machine import describe_machine
from synctalk.expression import (
    ProsodicExpression,
    Prosody,
    SubjectExpression,
    VQVAETraining,
    measure_prosody,
)
from synctalk.expression.events import emphasis
from synctalk.expression.subject import COLUMNS, _features
from synctalk.face import ARKIT_NAMES
from synctalk.face_sync import EYE_POINTS, LIP_POINTS
from synctalk.gaussians.scene import MEAN
from synctalk.media import read_audio
from synctalk.progress import ignore_progress
from synctalk.training.expression import fit_expression
from synctalk.training.subject import study

ROOT = Path(__file__).resolve().parent.parent
DATA = ROOT.parent / "shared" / "data"
BLINK, BROW = ARKIT_NAMES.index("eyeBlinkLeft"), ARKIT_NAMES.index("browInnerUp")
BROW_POINTS = (70, 63, 105, 66, 107, 336, 296, 334, 293, 300)
SHAPE = range(-4, 10)  # frames around a blink's peak
N_COEFFICIENTS = 12  # eyes and brows, without irises
SPLATS_A_POINT = 6


@dataclass(frozen=True)
class Voice:
    name: str
    prosody: Prosody


def voices() -> list[Voice]:
    names = ("virtual/subject_a/ood.wav", "audio/english_60s.wav", "audio/german_9s.wav")
    waves = {name: read_audio(DATA / name) for name in names}
    return [
        Voice(Path(n).stem, measure_prosody(w, len(w) * 25 // 16_000)) for n, w in waves.items()
    ]


def rounded(value: object) -> object:
    if isinstance(value, dict):
        return {key: rounded(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [rounded(each) for each in value]
    return round(float(value), 3) if isinstance(value, float | np.floating) else value


def correlation(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.corrcoef(a, b)[0, 1]) if a.std() > 0 and b.std() > 0 else 0.0


def blink_peaks(lids: np.ndarray) -> np.ndarray:
    return np.asarray(find_peaks(lids, height=0.5, prominence=0.3, distance=3)[0])


def blink_figures(lids: np.ndarray) -> dict[str, object]:
    peaks = blink_peaks(lids)
    whole = [p for p in peaks if SHAPE[0] + p >= 0 and p + SHAPE[-1] < len(lids)]
    mean = np.mean([lids[p + np.array(SHAPE)] for p in whole], axis=0) if whole else np.zeros(0)
    gaps = np.diff(peaks) / 25
    return {
        "per_minute": len(peaks) * 1500 / len(lids),
        "gap_variation": float(gaps.std() / gaps.mean()) if len(gaps) > 1 else 0.0,
        "shape": mean.tolist(),
        "frames_more_than_half_closed": float((lids > 0.5).sum() / max(len(peaks), 1)),
    }


def generated_blinks(voice: Voice) -> dict[str, object]:
    rates = [
        len(ProsodicExpression(seed=seed).plan(voice.prosody).blinks) * 1500 / len(voice.prosody)
        for seed in range(40)
    ]
    ends = voice.prosody.pauses[:, 0] / 25
    closed = np.array(
        [
            b.closed_s
            for s in range(40)
            for b in ProsodicExpression(seed=s).plan(voice.prosody).blinks
        ]
    )
    chance = np.random.default_rng(0).uniform(0, len(voice.prosody) / 25, 4000)
    near = [
        float((np.abs(t[:, None] - ends).min(1) < 0.12).mean()) if len(ends) else 0.0
        for t in (closed, chance)
    ]
    return {
        "per_minute_mean": float(np.mean(rates)),
        "per_minute_10_90": np.percentile(rates, [10, 90]).tolist(),
        "at_phrase_ends": near[0],
        "at_phrase_ends_by_chance": near[1],
    }


def brow_figures(brow: np.ndarray, prosody: Prosody) -> dict[str, object]:
    """Correlation with emphasis while somebody speaks, at the best lag within 0.4 s."""
    stress = gaussian_filter1d(emphasis(prosody), 2)[: len(brow)]
    speaking = ~prosody.quiet[: len(brow)]
    lags = {
        lag: correlation(np.roll(brow, lag)[speaking], stress[speaking]) for lag in range(-10, 11)
    }
    best = max(lags, key=lambda lag: lags[lag])
    return {"r": lags[0], "r_best": lags[best], "best_lag_frames": best}


def truth_figures() -> dict[str, object]:
    found: dict[str, object] = {}
    for name, wav in (("truth", "train.wav"), ("ood_truth", "ood.wav")):
        file = np.load(DATA / f"virtual/subject_a/{name}.npz")
        names = list(file["coeff_names"])
        coeffs = file["coeffs"]
        prosody = measure_prosody(read_audio(DATA / f"virtual/subject_a/{wav}"), len(coeffs))
        brow = coeffs[:, names.index("browInnerUp")]
        ours = ProsodicExpression().generate(prosody)
        found[name] = {
            "blinks": blink_figures(coeffs[:, names.index("eyeBlinkLeft")]),
            "blinks_ours": blink_figures(ours[:, BLINK]),
            "brow_and_emphasis": brow_figures(brow, prosody),
            "brow_and_emphasis_ours": brow_figures(ours[:, BROW], prosody),
            "brow_mean_sd": [float(brow.mean()), float(brow.std())],
            "brow_mean_sd_ours": [float(ours[:, BROW].mean()), float(ours[:, BROW].std())],
            "brow_ours_with_truth_r": correlation(brow, ours[:, BROW]),
        }
    return found


@dataclass(frozen=True)
class OwnRange:
    """Distances to a subject's own frames; ``limit`` is what 99 % of these keep to each other."""

    own: Tensor
    limit: float

    @classmethod
    def of(cls, coefficients: Tensor, apart: int = 12) -> OwnRange:
        own = coefficients[:, :N_COEFFICIENTS]
        index = torch.arange(len(own))
        distance = torch.cdist(own, own)
        distance[(index[:, None] - index).abs() < apart] = torch.inf
        return cls(own, float(distance.min(1).values.quantile(0.99)))

    def outside(self, coefficients: np.ndarray) -> float:
        rows = torch.from_numpy(coefficients[:, :N_COEFFICIENTS])
        return float((torch.cdist(rows, self.own).min(1).values > self.limit).float().mean())


def tracks(voice: Voice) -> dict[str, np.ndarray]:
    """Generated ones, and some that no face shows."""
    n = len(voice.prosody)
    rng = np.random.default_rng(0)
    noise = gaussian_filter1d(rng.normal(size=(n, 52)), 4, axis=0)
    extreme = np.zeros((n, 52))
    extreme[:, COLUMNS] = (np.sin(np.arange(n)[:, None] / rng.uniform(4, 20, len(COLUMNS))) + 1) / 2
    made = {
        style: ProsodicExpression(style).generate(voice.prosody)
        for style in ("neutral", "calm", "natural", "emphatic")
    }
    made["every shape at once"] = extreme
    made["noise"] = np.clip(0.5 + noise / noise.std() * 0.3, 0, 1)
    return {name: track.astype(np.float32) for name, track in made.items()}


class WithoutVQVAE(SubjectExpression):
    """Blendshapes as they come."""

    def in_range(self, blendshapes, before=None, after=None):  # type: ignore[no-untyped-def]
        return torch.from_numpy(blendshapes[:, COLUMNS])


def unclamped(expression: SubjectExpression) -> SubjectExpression:
    wide = torch.full_like(expression.low, 1e9)
    return replace(expression, low=-wide, high=wide)


def range_figures(
    expression: SubjectExpression, own: OwnRange, order: np.ndarray, voice: Voice
) -> dict[str, object]:
    bare = WithoutVQVAE(**vars(expression))
    variants = {
        "neither": unclamped(bare),
        "clamped": bare,
        "vqvae": unclamped(expression),
        "both": expression,
    }
    return {
        name: {
            variant: own.outside(each.coefficients(order, track))
            for variant, each in variants.items()
        }
        for name, track in tracks(voice).items()
    }


def jitter_mm(avatar: Avatar, coefficients: np.ndarray) -> float:
    """Root mean square second difference of eye and brow points."""
    space = avatar.space.expressions
    rows = space.decode(torch.from_numpy(coefficients[:, :N_COEFFICIENTS])).numpy()
    return float(np.sqrt(np.square(np.diff(rows, 2, axis=0)).mean()))


def moved_px(avatar: Avatar, driving: Driving, points: tuple[int, ...]) -> dict[str, float]:
    """How far the splats next to mesh points move over ``driving``, px at 512²."""
    rest = avatar.deform(driving[slice(0, 1)])[0, :, MEAN] * avatar._unit_mm
    at = avatar.space.vertices[list(points)]
    near = torch.cdist(at, rest).topk(SPLATS_A_POINT, largest=False).indices.flatten()
    place = torch.cat(
        [
            avatar.deform(driving[slice(i, i + 8)])[:, near][..., MEAN]
            for i in range(0, len(driving), 8)
        ]
    )
    moved = (place * avatar._unit_mm - rest[near]).norm(dim=-1)
    px_per_mm = float(avatar._K[0, 0]) / float(driving.t[0, 2]) * 512 / avatar.manifest.size
    return {
        "most_px": float(moved.max()) * px_per_mm,
        "mean_px": float(moved.mean()) * px_per_mm,
    }


def leak_figures(avatar: Avatar, upper: np.ndarray) -> dict[str, object]:
    """Pose held; first only ``upper`` moves, then only the footage's own lips."""
    n = len(upper)
    still = avatar.source[np.zeros(n, np.int64)]
    lips = avatar.source[np.arange(n) % len(avatar.source)].lip
    return {
        "expression_moves_lips": moved_px(avatar, replace(still, expression=upper), LIP_POINTS),
        "expression_moves_brows": moved_px(avatar, replace(still, expression=upper), BROW_POINTS),
        "lips_move_brows": moved_px(avatar, replace(still, lip=lips), BROW_POINTS),
        "lips_move_eyes_and_brows": moved_px(avatar, replace(still, lip=lips), EYE_POINTS),
        "lips_move_lips": moved_px(avatar, replace(still, lip=lips), LIP_POINTS),
    }


def subject_figures(avatar_path: Path, dataset_path: Path, heard: list[Voice]) -> dict[str, object]:
    dataset, avatar = SubjectDataset.open(dataset_path), Avatar.load(avatar_path, "cpu")
    subject = study(dataset)
    began = time.process_time()
    fitted = fit_expression(dataset, subject, VQVAETraining(), ignore_progress)
    seconds = time.process_time() - began
    assert fitted is not None
    expression = fitted.subject
    own_track = dataset.tracks.blendshapes
    learn = subject.usable[: dataset.held_out_range.start]
    own = OwnRange.of(subject.driving.expression[: len(learn)][learn])
    prosody = measure_prosody(dataset.audio(), len(dataset))
    voice = heard[1]
    order = play_order(avatar.manifest.played, len(voice.prosody))
    natural = ProsodicExpression().generate(voice.prosody)
    began = time.process_time()
    upper = expression.coefficients(order, natural)
    per_frame_ms = 1000 * (time.process_time() - began) / len(order)
    emphatic = ProsodicExpression("emphatic").generate(voice.prosody)
    source = avatar.source.expression[order]
    held = torch.from_numpy(own_track[dataset.held_out_range.start :, COLUMNS])
    through = expression.in_range(own_track[dataset.held_out_range.start :])
    return {
        "frames": len(dataset),
        "training_cpu_s": seconds,
        "inference_ms_per_frame": per_frame_ms,
        "codebook_perplexity": list(fitted.usage.perplexity),
        "codebook_dead": list(fitted.usage.dead),
        "vqvae_rms_training": fitted.usage.reconstruction,
        "vqvae_rms_held_out": float((held - through).square().mean().sqrt()),
        "explained_by_brows_and_lids": explained(subject.driving.expression, own_track, expression),
        "own_blinks": blink_figures(own_track[:, BLINK]),
        "source_blinks_in_play_order": blink_figures(own_track[order][:, BLINK])["per_minute"],
        "generated_blinks_after_vqvae": blink_figures(
            expression.in_range(natural)[:, COLUMNS.index(BLINK)].numpy()
        ),
        "own_brow_and_own_emphasis": brow_figures(own_track[:, BROW], prosody),
        "generated_brow_and_emphasis": brow_figures(
            expression.in_range(natural)[:, COLUMNS.index(BROW)].numpy(), voice.prosody
        ),
        "source_brow_and_new_emphasis": brow_figures(own_track[order][:, BROW], voice.prosody),
        "outside_own_range": range_figures(expression, own, order, voice),
        "outside_own_range_source": own.outside(source),
        "jitter_mm": {"source": jitter_mm(avatar, source), "generated": jitter_mm(avatar, upper)},
        "leak": leak_figures(avatar, expression.coefficients(order, emphatic)[:400]),
    }


def explained(
    coefficients: Tensor, own_track: np.ndarray, expression: SubjectExpression
) -> list[float]:
    """Share of each coefficient's variance that the regression takes out."""
    rows = torch.from_numpy(np.ascontiguousarray(own_track[:, COLUMNS]))
    left = coefficients - _features(rows) @ expression.weight
    return (1 - left.var(0) / coefficients.var(0)).tolist()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("paths", nargs="+", type=Path, help="AVATAR DATASET, in turn")
    paths = parser.parse_args().paths
    heard = voices()
    report: dict[str, object] = {
        "machine": describe_machine().as_dict(),
        "generated_blinks": {voice.name: generated_blinks(voice) for voice in heard},
        "virtual_person": truth_figures(),
        "subjects": {
            avatar.stem: subject_figures(avatar, dataset, heard)
            for avatar, dataset in zip(paths[::2], paths[1::2], strict=True)
        },
    }
    text = json.dumps(rounded(report), indent=1)
    print(text)
    (ROOT / "benchmarks" / "results" / "expression.json").write_text(text + "\n")


if __name__ == "__main__":
    main()
