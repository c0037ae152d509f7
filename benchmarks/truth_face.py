"""The face tracker and the blendshapes against the virtual subject's exact truth.

    python benchmarks/truth_face.py [--data ../shared/data/virtual/subject_a] [--task FILE]

Writes benchmarks/results/truth_face.json. Landmark errors are raw distances over visible points in
percent of the distance between the outer eye corners, without any fit to the truth; the tracker's
mapping to the 68 points is fixed. The truth's jaw points are fixed vertices of its mesh, ours are
spaced evenly along the outline, so part of the jaw's error is a difference of definition.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray

from synctalk.evaluation.machine import describe_machine
from synctalk.face import ARKIT_NAMES, CORE_NAMES, FaceTrack, GeometricCapturer, MeshFaceTracker
from synctalk.face.task import TaskCapturer

ROOT = Path(__file__).resolve().parent.parent
RESULT = Path(__file__).resolve().parent / "results" / "truth_face.json"
GROUPS = {
    "all_68": slice(0, 68),
    "inner_17_to_67": slice(17, 68),
    "jaw_0_to_16": slice(0, 17),
    "brows": slice(17, 27),
    "nose": slice(27, 36),
    "eyes": slice(36, 48),
    "outer_lips": slice(48, 60),
    "inner_lips": slice(60, 68),
}
MIN_TRUTH_PEAK = 0.1  # shapes that the clip hardly shows have no meaningful correlation


@dataclass(frozen=True)
class Landmarks:
    """Landmark figures.

    Args:
        error_percent_iod: mean error by group of points, % of the outer eye corners' distance.
        jitter_px: mean length of the second difference of the error over inner points, px.
        lip_gap_correlation: tracked against true distance of points 62 and 66.
        found: part of the frames with a face.
    """

    error_percent_iod: dict[str, float]
    jitter_px: float
    lip_gap_correlation: float
    found: float


def landmarks_against_truth(track: FaceTrack, truth: np.lib.npyio.NpzFile) -> Landmarks:
    true = truth["lm2d"] + 0.5  # the truth counts pixel centres at integers
    error = track.landmarks68 - true
    corners = np.linalg.norm(true[:, 36] - true[:, 45], axis=-1)
    percent = np.linalg.norm(error, axis=-1) / corners[:, None] * 100
    visible = truth["lm_visible"]
    by_group = {
        name: round(float(percent[:, points][visible[:, points]].mean()), 3)
        for name, points in GROUPS.items()
    }
    jitter = np.linalg.norm(np.diff(error[:, 17:], 2, axis=0), axis=-1).mean()
    gaps = [np.linalg.norm(p[:, 62] - p[:, 66], axis=-1) for p in (track.landmarks68, true)]
    return Landmarks(
        by_group,
        round(float(jitter), 3),
        round(float(np.corrcoef(*gaps)[0, 1]), 3),
        float(track.found.mean()),
    )


def correlations(scores: NDArray[np.float32], truth: np.lib.npyio.NpzFile) -> dict[str, float]:
    """Pearson's r of each shape that the clip shows; 0 for a shape that is not measured."""
    names = [str(name) for name in truth["coeff_names"]]
    result = {}
    for index, name in enumerate(ARKIT_NAMES):
        true, score = truth["coeffs"][:, names.index(name)], scores[:, index]
        if true.max() >= MIN_TRUTH_PEAK:
            measured = score.std() > 0
            result[name] = round(float(np.corrcoef(true, score)[0, 1]), 3) if measured else 0.0
    return result


def read_frames(path: Path) -> list[NDArray[np.uint8]]:
    with av.open(str(path)) as container:
        return [
            np.ascontiguousarray(frame.to_ndarray(format="rgb24"))
            for frame in container.decode(video=0)
        ]


def main() -> None:
    """Measure and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    default = ROOT.parent / "shared" / "data" / "virtual" / "subject_a"
    parser.add_argument("--data", type=Path, default=default)
    parser.add_argument("--task", type=Path, help="face_landmarker.task, measured beside ours")
    arguments = parser.parse_args()
    frames = read_frames(arguments.data / "train.mp4")
    truth = np.load(arguments.data / "truth.npz", allow_pickle=False)

    tracker = MeshFaceTracker()
    tracker.track(frames[:10])
    wall, cpu = time.perf_counter(), time.process_time()
    track = tracker.track(frames)
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu

    blendshapes = correlations(GeometricCapturer().capture(track), truth)
    result = {
        "clip": "virtual/subject_a/train.mp4",
        "frames": len(track),
        "landmarks": asdict(landmarks_against_truth(track, truth)),
        "core_blendshape_correlation": {name: blendshapes[name] for name in CORE_NAMES},
        "blendshape_correlation": blendshapes,
        "wall_ms_per_frame": round(1000 * wall / len(track), 2),
        "cpu_ms_per_frame": round(1000 * cpu / len(track), 2),
        "machine": asdict(describe_machine()),
    }
    if arguments.task:
        scores = TaskCapturer(arguments.task).capture(track)
        result["task_file_blendshape_correlation"] = correlations(scores, truth)
    RESULT.parent.mkdir(exist_ok=True)
    RESULT.write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
