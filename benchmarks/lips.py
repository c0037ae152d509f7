"""How well speech drives lips: the encoder and lip head against a ridge on mels.

    python benchmarks/lips.py [--cache DIR]      → benchmarks/results/lips.json

Subjects: the virtual person (exact truth; own last 1/11, and another voice speaking other
sentences), and two real people (targets from the mesh tracker; last 1/11). A head learns on the
first 10/11 and is fitted twice: on clean audio, and on clean and disturbed audio as the product
does. The real people's heads are also driven by nine strangers (GRID speakers), whose own lips are
the truth. Figures: correlation of the mouth opening, on clean audio and with babble at 10 dB; p/b/m
closures found at 10 % false alarms where there is truth; mouth opening in silence.
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

from synctalk.evaluation.machine import describe_machine
from synctalk.face import MeshFaceTracker, load_canonical_face
from synctalk.face_sync import (
    LAYOUT,
    AudioVisualEncoder,
    LinearSpace,
    LipOpening,
    fit_driving_space,
    fit_lip_regressor,
)
from synctalk.face_sync.augment import disturbed_features
from synctalk.face_sync.visemes import BILABIAL
from synctalk.media import VideoReader, read_audio

ROOT = Path(__file__).resolve().parent.parent
DATA = ROOT.parent / "shared" / "data"
ANCHOR_CUTS = (176, 702, 953, 1429)
GRID_CLIPS = 60
NOISE_DB = 10.0
MEL_PAST, MEL_FUTURE, MEL_RIDGE = 5, 3, 2000.0  # the look-ahead of encoder and head together
RIGID = [4, 5, 195, 197, 6, 168, 33, 133, 263, 362, 98, 327, 2, 94, 19, 1, 10, 151, 9, 8]


@dataclass(frozen=True)
class Task:
    """One subject: targets, where to learn and where to test."""

    name: str
    wav: Tensor  # [n]
    targets: Tensor  # [T, K]
    opening: LipOpening
    valid: Tensor  # [T] bool
    split: int  # first test frame
    cuts: tuple[int, ...] = ()
    closed: Tensor | None = None  # [T] bool: p, b, m with closed lips
    open: Tensor | None = None  # [T] bool: speech without closure
    silent: Tensor | None = None  # [T] bool


def correlation(a: Tensor, b: Tensor) -> float:
    return float(torch.corrcoef(torch.stack([a, b]))[0, 1])


def recall_at_10(score: Tensor, positive: Tensor, negative: Tensor) -> float:
    return float((score[positive] > score[negative].quantile(0.9)).float().mean())


def virtual_tasks() -> tuple[Task, Task]:
    folder = DATA / "virtual" / "subject_a"
    train, other = (np.load(folder / f"{n}.npz") for n in ("truth", "ood_truth"))
    points = [torch.tensor(z["lm3d_head"][:, 48:68, :2]).float().flatten(1) for z in (train, other)]
    split = len(points[0]) - len(points[0]) // 11
    space = LinearSpace.fit(points[0][:split], 12)
    gap = torch.zeros(40)
    gap[2 * 14 + 1], gap[2 * 18 + 1] = 1.0, -1.0  # inner lip points 62 and 66
    opening = LipOpening((space.components @ gap) * space.scale, float(space.mean @ gap))
    tasks = []
    for name, truth, rows, wav, start in (
        ("virtual_own", train, points[0], "train.wav", split),
        ("virtual_other_voice", other, points[1], "ood.wav", 0),
    ):
        silent = truth["viseme_id"] == list(truth["viseme_names"]).index("sil")
        closure = truth["lip_closure_env"]
        masks = (closure > 0.5, (closure < 0.1) & ~silent, silent)
        tasks.append(
            Task(
                name,
                torch.from_numpy(read_audio(folder / wav)),
                space.encode(rows),
                opening,
                torch.ones(len(rows), dtype=torch.bool),
                start,
                (),
                *(torch.from_numpy(mask) for mask in masks),
            )
        )
    return tasks[0], tasks[1]


def track(path: Path, cuts: tuple[int, ...], cache: Path) -> dict[str, np.ndarray]:
    """Mesh [T,478,3], score [T] and poses by PnP on rigid points of the canonical face."""
    stored = cache / f"{path.stem}.npz"
    if not stored.exists():
        with VideoReader(path) as reader:
            frames = list(reader.iter_rgb())
        found = MeshFaceTracker(1).track(frames, cuts=cuts)
        height, width = frames[0].shape[:2]
        focal = 1.4 * max(height, width)
        K = np.array([[focal, 0, width / 2], [0, focal, height / 2], [0, 0, 1]])
        poses = [pose(mesh, K) for mesh in found.mesh]
        R, t = (np.stack(part) for part in zip(*poses, strict=True))
        np.savez(stored, mesh=found.mesh, score=found.score, R=R, t=t, K=K, wav=read_audio(path))
    with np.load(stored) as file:
        return {name: file[name] for name in file.files}


def pose(mesh: np.ndarray, K: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    if not mesh.any():
        return np.diag([1.0, -1.0, -1.0]), np.array([0.0, 0.0, 600.0])
    points, pixels = (
        load_canonical_face().vertices[RIGID].astype(float),
        mesh[RIGID, :2].astype(float),
    )
    _, r, t = cv2.solvePnP(points, pixels, K, None, flags=cv2.SOLVEPNP_SQPNP)
    _, r, t = cv2.solvePnP(points, pixels, K, None, r, t, True, flags=cv2.SOLVEPNP_ITERATIVE)
    return cv2.Rodrigues(r)[0], t[:, 0]


def real_task(name: str, clips: list[Path], cuts: tuple[int, ...], cache: Path) -> Task:
    """One subject of one or many clips; the last 1/11 (of the clips, if many) is for testing."""
    tracks = [track(clip, cuts, cache) for clip in clips]
    lengths = [len(t["score"]) for t in tracks]
    joined = {
        k: torch.tensor(np.concatenate([t[k] for t in tracks])).float()
        for k in ("mesh", "score", "R", "t")
    }
    frames = sum(lengths)
    many = len(clips) > 1
    split = sum(lengths[: -(len(clips) // 11)]) if many else frames - frames // 11
    valid = joined["score"] > 0
    learn = valid & (torch.arange(frames) < split)
    K = torch.tensor(tracks[0]["K"]).float()
    where = (joined["mesh"], joined["R"], joined["t"], K)
    vertices = torch.from_numpy(load_canonical_face().vertices)
    space = fit_driving_space(*where, vertices, learn)
    pieces = [
        np.pad(t["wav"], (0, max(0, 640 * n - len(t["wav"]))))[: 640 * n]
        for t, n in zip(tracks, lengths, strict=True)
    ]
    joints = tuple(int(i) for i in np.cumsum(lengths)[:-1]) if many else cuts
    wav = torch.from_numpy(np.concatenate(pieces))
    return Task(name, wav, space.lip(*where), space.opening, valid, split, joints)


def mel_ridge(copies: list[Tensor], task: Task, learn: Tensor):
    """Ridge on the same mels with the same look-ahead: what an encoder has to beat."""
    rows = torch.cat([copy[learn] for copy in copies])
    mean, scale = rows.mean(0), rows.std(0).clamp_min(1e-4)

    def stack(features: Tensor) -> Tensor:
        z = ((features - mean) / scale)[:, LAYOUT.mel]
        padded = torch.nn.functional.pad(z.T[None], (MEL_PAST, MEL_FUTURE), mode="replicate")[0].T
        reach = range(MEL_PAST + MEL_FUTURE + 1)
        return torch.cat([padded[i : i + len(z)] for i in reach], dim=1)

    bias = task.targets[learn].mean(0)
    stacks = [stack(copy)[learn].double() for copy in copies]
    gram = sum(s.T @ s for s in stacks) / len(stacks)
    moment = sum(s.T @ (task.targets[learn] - bias).double() for s in stacks) / len(stacks)
    gram.diagonal().add_(MEL_RIDGE)
    weight = torch.linalg.solve(gram, moment).float()
    return lambda features: stack(features) @ weight + bias


def babble(wav: Tensor) -> Tensor:
    """``wav`` with four strangers' speech mixed in at NOISE_DB."""
    stranger = torch.from_numpy(read_audio(DATA / "audio" / "english_60s.wav"))
    mixed = sum(stranger.roll(int(i * 0.23 * len(stranger))) for i in range(4))
    mixed = mixed.repeat(-(-len(wav) // len(mixed)))[: len(wav)]
    loud, noise = (x.square().mean().sqrt() for x in (wav, mixed))
    return wav + mixed * (loud / noise) * 10 ** (-NOISE_DB / 20)


def figures(task: Task, predicted: Tensor, noisy: Tensor) -> dict[str, float]:
    test = torch.arange(len(task.targets)) >= task.split
    test &= task.valid
    truth, opening = task.opening(task.targets), task.opening(predicted)
    result = {
        "opening_r": correlation(opening[test], truth[test]),
        "opening_r_babble_10db": correlation(task.opening(noisy)[test], truth[test]),
    }
    if task.closed is not None and task.open is not None and task.silent is not None:
        result["closure_recall"] = recall_at_10(-opening, task.closed & test, task.open & test)
        result["silence_mm"] = float(opening[task.silent & test].mean())
        result["silence_mm_truth"] = float(truth[task.silent & test].mean())
    return {name: round(value, 3) for name, value in result.items()}


@dataclass(frozen=True)
class Stranger:
    """Another person: [n] audio, [T] lip gap over the distance between the eyes, [T] bool."""

    wav: Tensor
    gap: Tensor
    valid: Tensor


def strangers(cache: Path) -> list[Stranger]:
    found = []
    for path in sorted((DATA / "video/grid_speakers").glob("*.mpg")):
        tracked = track(path, (), cache)
        mesh = torch.from_numpy(tracked["mesh"])[..., :2]
        lips, eyes = ((mesh[:, a] - mesh[:, b]).norm(dim=1) for a, b in ((13, 14), (33, 263)))
        wav, valid = torch.from_numpy(tracked["wav"]), torch.from_numpy(tracked["score"] > 0)
        found.append(Stranger(wav, lips / eyes, valid))
    return found


def by_strangers(task: Task, head, people: list[Stranger], encoder, causal: bool) -> float:
    """Mean over people of the correlation of the subject's opening with the speaker's own."""
    values = []
    for person in people:
        rows = encoder.encode(person.wav, len(person.gap), causal=causal)
        opening = task.opening(head(rows))
        values.append(correlation(opening[person.valid], person.gap[person.valid]))
    return round(float(np.mean(values)), 3)


def run(
    learn_on: Task, tests: list[Task], encoder: AudioVisualEncoder, people: list[Stranger]
) -> dict[str, object]:
    frames = len(learn_on.targets)
    learn = learn_on.valid & (torch.arange(frames) < learn_on.split)
    copies = disturbed_features(encoder, learn_on.wav, frames)
    heads = {}
    for fit, used in (("clean", copies[:1]), ("disturbed", copies)):
        heads[f"mel ridge, {fit} fit"] = mel_ridge(used, learn_on, learn)
        heads[f"lip head, {fit} fit"] = fit_lip_regressor(
            used, learn_on.targets, learn, learn_on.cuts, learn_on.opening
        ).predict
    report: dict[str, object] = {}
    for task in tests:
        modes = {}
        for causal in (False, True):
            inputs = [
                encoder.encode(wav, len(task.targets), causal=causal)
                for wav in (task.wav, babble(task.wav))
            ]
            for name, head in heads.items():
                if causal and name != "lip head, disturbed fit":
                    continue
                key = f"{name}, causal" if causal else name
                modes[key] = figures(task, head(inputs[0]), head(inputs[1]))
                if people:
                    r = by_strangers(task, head, people, encoder, causal)
                    modes[key]["opening_r_strangers"] = r
        if task.closed is not None and task.open is not None:
            posterior = encoder.encode(task.wav, len(task.targets))[:, LAYOUT.visemes][:, BILABIAL]
            test = torch.arange(len(posterior)) >= task.split
            found = recall_at_10(posterior, task.closed & test, task.open & test)
            modes["bilabial posterior alone"] = {"closure_recall": round(found, 3)}
        report[task.name] = modes
        print(task.name, json.dumps(modes, indent=1), flush=True)
    return report


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--cache", type=Path, default=Path("/tmp/synctalk-lips"))
    cache = parser.parse_args().cache
    cache.mkdir(parents=True, exist_ok=True)
    encoder = AudioVisualEncoder.pretrained()
    own, other = virtual_tasks()
    results = run(own, [own, other], encoder, [])
    people = strangers(cache)
    anchor = real_task("anchor", [DATA / "video/anchor_71s_512.mp4"], ANCHOR_CUTS, cache)
    results |= run(anchor, [anchor], encoder, people)
    clips = sorted((DATA / "video/grid_s1").glob("*.mpg"))[:GRID_CLIPS]
    grid = real_task(f"grid_s1, {GRID_CLIPS} clips", clips, (), cache)
    results |= run(grid, [grid], encoder, people)
    report = {"machine": describe_machine().as_dict(), "results": results}
    out = ROOT / "benchmarks" / "results" / "lips.json"
    out.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
