"""Head poses against exact truth (issue 2: rotation RMSE <= 1.5 deg, jitter <= 1.5x the truth's).

The stabilizer sees the virtual subject's video only; its poses are compared with those that the
renderer used after ONE global alignment: a constant similarity between the two head frames. Each
step of the method is also switched off for its ablation.

    python benchmarks/truth_pose.py [--frames N] [--clips train small] [--out FILE]
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
from scipy.optimize import least_squares

from synctalk.evaluation import describe_machine
from synctalk.face import make_tracker
from synctalk.head_sync import HeadSyncConfig, HeadTrack, stabilize
from synctalk.head_sync.geometry import (
    Float,
    Poses,
    exp_so3,
    jitter,
    log_so3,
    nearest_rotation,
    project,
)
from synctalk.media import VideoReader

ROOT = Path(__file__).resolve().parent.parent
SUBJECT = ROOT.parent / "shared" / "data" / "virtual" / "subject_a"
# nose, eye corners, temples and jaw beside the ears: what sits on the skull
RIGID_POINTS = (*range(27, 36), 36, 39, 42, 45, 1, 15, 17, 26)


@dataclass(frozen=True)
class Truth:
    """The renderer's own poses, in continuous pixels of the clip that was tracked."""

    poses: Poses
    K: Float
    rigid: Float


@dataclass(frozen=True)
class PoseErrors:
    """Errors after one global alignment; ratios are to the truth's own jitter."""

    rotation_rmse_deg: float
    rotation_max_deg: float
    face_centre_px: float
    rigid_points_px: float
    rigid_points_p95_px: float
    jitter_rotation_deg: float
    jitter_rotation_ratio: float
    jitter_translation_mm: float
    jitter_translation_ratio: float


def load_truth(path: Path, n_frames: int, scale: float) -> Truth:
    with np.load(path, allow_pickle=False) as data:
        K = data["K"].astype(np.float64)
        K[:2, 2] += 0.5  # the file counts pixel centres at integers
        K[:2] *= scale
        poses = Poses(data["R_head"][:n_frames], data["t_head"][:n_frames])
        return Truth(poses, K, data["lm3d_neutral"][list(RIGID_POINTS)].astype(np.float64))


def compare(ours: Poses, K: Float, truth: Truth) -> PoseErrors:
    """All errors of one result."""
    C = nearest_rotation(np.einsum("tji,tjk->ik", ours.R, truth.poses.R))
    turned = log_so3(ours.R @ C @ truth.poses.R.transpose(0, 2, 1))
    degrees = np.rad2deg(np.linalg.norm(turned, axis=1))
    uv = project(truth.poses.transform(truth.rigid), truth.K)

    def placed(p: Float) -> Float:
        return np.asarray(np.exp(p[6]) * truth.rigid @ (exp_so3(p[:3]) @ C).T + 10 * p[3:6])

    some = slice(None, None, max(1, len(ours) // 200))
    fit = least_squares(
        lambda p: (project(ours.at(some).transform(placed(p)), K) - uv[some]).ravel(), np.zeros(7)
    )
    seen = project(ours.transform(placed(fit.x)), K)
    off = np.linalg.norm(seen - uv, axis=-1)
    whole = [slice(0, len(ours))]
    (jr, jt), (tr, tt) = jitter(ours, whole), jitter(truth.poses, whole)
    scale = float(np.exp(fit.x[6]))
    return PoseErrors(
        float(np.sqrt((degrees**2).mean())),
        float(degrees.max()),
        float(np.linalg.norm((seen - uv).mean(1), axis=-1).mean()),
        float(off.mean()),
        float(np.quantile(off, 0.95)),
        jr,
        jr / tr,
        jt,
        jt / scale / tt,
    )


def configurations() -> dict[str, HeadSyncConfig]:
    full = HeadSyncConfig()
    no_points = replace(full.points, enabled=False)
    no_pixels = replace(full.photometric, enabled=False)
    no_outline = replace(full.photometric, outline=False)
    return {
        "motion": replace(full, points=no_points, photometric=no_pixels),
        "motion + bundle": replace(full, photometric=no_pixels),
        "motion + photometric": replace(full, points=no_points),
        "full without the outline": replace(full, photometric=no_outline),
        "full": full,
    }


def poses_of(head: HeadTrack) -> Poses:
    return Poses(head.R.astype(np.float64), head.t.astype(np.float64))


def run_clip(name: str, n_frames: int | None) -> dict[str, object]:
    path = SUBJECT / f"{name}.mp4"

    def frames():  # type: ignore[no-untyped-def]
        for i, frame in enumerate(VideoReader(path)):
            if n_frames is not None and i >= n_frames:
                return
            yield frame

    started = time.perf_counter()
    track = make_tracker("mesh").track(frames())
    tracked_s = time.perf_counter() - started
    truth = load_truth(SUBJECT / "truth.npz", len(track), track.size[0] / 512)
    result: dict[str, object] = {"frames": len(track), "size": track.size, "face_s": tracked_s}
    for label, config in configurations().items():
        started = time.perf_counter()
        head = stabilize(frames, track, size=track.size, config=config)
        seconds = time.perf_counter() - started
        errors = compare(poses_of(head), head.K.astype(np.float64), truth)
        result[label] = {"seconds": round(seconds, 1), **asdict(errors)}
        if label == "full":
            result["report"] = asdict(head.report)
        print(name, label, f"{seconds:.1f} s", errors, flush=True)
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--frames", type=int)
    parser.add_argument("--clips", nargs="+", default=["train", "small"])
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks/results/truth_pose.json")
    args = parser.parse_args()
    clips = {name: run_clip(name, args.frames) for name in args.clips}
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.write_text(
        json.dumps({"machine": asdict(describe_machine()), "clips": clips}, indent=1)
    )


if __name__ == "__main__":
    main()
