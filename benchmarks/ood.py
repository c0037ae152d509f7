"""A voice that the avatar was never trained on, against the same person really saying it.

    python benchmarks/ood.py [--subject ../shared/data/virtual/subject_a]   → results/ood.json

The virtual person's lip regressor is fitted on ``train.mp4`` exactly as training fits it, then
driven by ``ood.wav``, another voice with other sentences. The truth is ``ood_truth.mp4``: its exact
lip gap and closures, and its lips as our own tracker sees them, in the subject's head frame.

Figures: correlation of the mouth opening and the shift in frames at which it is largest; lip
landmark distance (mm, mean over lip and chin points) beside that of the mean mouth; closures on
p, b, m found at 10 % false closings; the same with the causal encoder and in cafeteria noise at
0 dB; mouth opening, as a share of its 5th to 95th percentile in speech above the rest, over 10 s
of silence, hiss, breath-like noise and music.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor

from synctalk import preprocess
from synctalk.dataset import SubjectDataset
from synctalk.evaluation.machine import describe_machine
from synctalk.face import MeshFaceTracker
from synctalk.face.topology import RIGID
from synctalk.face_sync import AudioVisualEncoder, DrivingSpace, LipRegressor
from synctalk.media import VideoReader, read_audio
from synctalk.progress import ignore_progress
from synctalk.training.lips import fit_lips
from synctalk.training.subject import study

ROOT = Path(__file__).resolve().parent.parent
DATA = ROOT.parent / "shared" / "data"
LAGS = range(-6, 7)
FALSE_CLOSINGS = 0.1
SILENCE_S = 10


@dataclass(frozen=True)
class Truth:
    """What the person really did: [T] mm; [T] bool; [T, 2P] mm; [n] audio."""

    gap: Tensor
    closed: Tensor
    open: Tensor
    lips: Tensor
    wav: Tensor


def dataset_of(video: Path, folder: Path) -> SubjectDataset:
    if not folder.exists():
        preprocess(video, folder)
    return SubjectDataset.open(folder)


def truth_of(subject: Path, space: DrivingSpace, K: np.ndarray) -> Truth:
    exact = np.load(subject / "ood_truth.npz")
    with VideoReader(subject / "ood_truth.mp4") as reader:
        mesh = MeshFaceTracker(1).track(list(reader.iter_rgb()), cuts=()).mesh
    R, t = (np.stack(part) for part in zip(*(pose(m, space, K) for m in mesh), strict=True))
    seen = (torch.from_numpy(np.float32(part)) for part in (mesh, R, t, K))
    closure = torch.from_numpy(exact["lip_closure_env"])
    silent = exact["viseme_id"] == list(exact["viseme_names"]).index("sil")
    return Truth(
        torch.from_numpy(exact["lip_gap_mm"]).float(),
        closure > 0.5,
        (closure < 0.1) & ~torch.from_numpy(silent),
        space.lips.decode(space.lip(*seen)),
        torch.from_numpy(read_audio(subject / "ood.wav", 16_000)),
    )


def pose(mesh: np.ndarray, space: DrivingSpace, K: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """[3,3] and [3] mm by the rigid points of one frame's mesh [478,3], started from the mean."""
    rigid = list(RIGID)
    points, pixels = space.vertices.numpy()[rigid].astype(float), mesh[rigid, :2].astype(float)
    _, r, t = cv2.solvePnP(points, pixels, K.astype(float), None, flags=cv2.SOLVEPNP_SQPNP)
    _, r, t = cv2.solvePnP(points, pixels, K.astype(float), None, r, t, True)
    return cv2.Rodrigues(r)[0], t[:, 0]


def correlation(a: Tensor, b: Tensor) -> float:
    return float(torch.corrcoef(torch.stack([a, b]))[0, 1])


def lag_of(gap: Tensor, truth: Tensor) -> int:
    """Frames by which ``gap`` comes late."""
    n, reach = len(truth), max(LAGS)
    middle = truth[reach : n - reach]
    return max(LAGS, key=lambda lag: correlation(gap[reach + lag : n - reach + lag], middle))


def closures_found(gap: Tensor, truth: Truth) -> float:
    threshold = gap[truth.open].quantile(FALSE_CLOSINGS)
    return float((gap[truth.closed] <= threshold).float().mean())


def distance_mm(lips: Tensor, truth: Tensor) -> float:
    """Mean over points of the distance between [T, 2P] and [T, 2P]."""
    return float((lips - truth).reshape(len(truth), -1, 2).norm(dim=2).mean())


def figures(
    space: DrivingSpace, regressor: LipRegressor, rows: Tensor, truth: Truth
) -> dict[str, float]:
    coefs = regressor.predict(rows)
    gap, lips = space.mouth_opening(coefs), space.lips.decode(coefs)
    mean_mouth = space.lips.mean.expand_as(truth.lips)
    return {
        "opening_r": round(correlation(gap, truth.gap), 3),
        "lag_frames": lag_of(gap, truth.gap),
        "lmd_mm": round(distance_mm(lips, truth.lips), 3),
        "lmd_of_mean_mouth": round(
            distance_mm(lips, truth.lips) / distance_mm(mean_mouth, truth.lips), 3
        ),
        "closure_recall": round(closures_found(gap, truth), 3),
    }


def noise_like(truth: Tensor) -> Tensor:
    """The cafeteria of the narrative, [n], as loud as ``truth`` [n]."""
    clean, noisy = (
        torch.from_numpy(read_audio(DATA / "audio" / f"narrative_{kind}.wav", 16_000))
        for kind in ("clean", "cafeteria_0db")
    )
    n = min(len(clean), len(noisy))
    clean, noisy = clean[:n], noisy[:n]
    noise = noisy - clean * (clean @ noisy) / (clean @ clean)
    noise = noise.repeat(-(-len(truth) // n))[: len(truth)]
    return noise * (truth.square().mean() / noise.square().mean()).sqrt()


def no_speech() -> dict[str, Tensor]:
    """Ten seconds each of what is not speech, [n]."""
    generator = torch.Generator().manual_seed(0)
    n = SILENCE_S * 16_000
    time = torch.arange(n) / 16_000
    hiss = torch.randn(n, generator=generator)
    breath = torch.sin(np.pi * time / 2).clamp_min(0) ** 2 * 0.02 * hiss
    chord = sum(
        torch.sin(2 * np.pi * hz * time) / (k + 1)
        for root in (220.0, 277.2, 329.6)
        for k, hz in enumerate((root, 2 * root, 3 * root))
    )
    beat = torch.exp(-4 * (time % 0.5))
    return {
        "silence": torch.zeros(n),
        "hiss_-60_dbfs": 1e-3 * hiss,
        "breath": breath,
        "music": 0.05 * chord * beat,
    }


def rest_of(
    space: DrivingSpace, regressor: LipRegressor, encoder: AudioVisualEncoder, truth: Truth
) -> dict[str, float]:
    frames = len(truth.gap)
    spoken = space.mouth_opening(regressor.predict(encoder.encode(truth.wav, frames)))
    low, high = spoken.quantile(0.05), spoken.quantile(0.95)
    rest = space.mouth_opening(regressor.rest)
    shares = {}
    for name, wav in no_speech().items():
        # after speech, as it comes in life: the level is known by then
        rows = encoder.encode(torch.cat([truth.wav, wav]), frames + 25 * SILENCE_S)
        gap = space.mouth_opening(regressor.predict(rows))[frames + 25 :]
        shares[name] = round(float((gap - rest).abs().max() / (high - low)), 3)
    return shares


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--subject", type=Path, default=DATA / "virtual" / "subject_a")
    parser.add_argument("--cache", type=Path, default=ROOT / "out" / "bench")
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results" / "ood.json")
    arguments = parser.parse_args()
    cache, subject = arguments.cache, arguments.subject
    dataset = dataset_of(subject / "train.mp4", cache / f"{subject.name}.dataset")
    learnt = study(dataset)
    regressor = fit_lips(dataset, learnt, ignore_progress)
    truth = truth_of(subject, learnt.space, dataset.tracks.K)
    encoder, frames = AudioVisualEncoder.pretrained(), len(truth.gap)
    noisy = truth.wav + noise_like(truth.wav)
    results: dict[str, object] = {
        name: figures(learnt.space, regressor, encoder.encode(wav, frames, causal=causal), truth)
        for name, wav, causal in (
            ("clean", truth.wav, False),
            ("clean, causal encoder", truth.wav, True),
            ("cafeteria 0 dB", noisy, False),
        )
    }
    results["opening without speech, share of range, at most"] = rest_of(
        learnt.space, regressor, encoder, truth
    )
    report = {"machine": describe_machine().as_dict(), "results": results}
    arguments.out.write_text(json.dumps(report, indent=1) + "\n")
    print(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()
