"""How much of the held-out error is the tracker's: the same frames with their poses refined.

    python benchmarks/refined_poses.py AVATAR DATASET [--iterations 3]

The paper's protocol renders held-out frames at the poses that the tracker found. Here each held-out
frame's pose (six numbers) is also refined against that frame's own pixels, the avatar unchanged, by
Gauss-Newton on the head region. Figures of refined poses look at held-out pixels: they bound
what a better tracker could give and are no figures of the product. Both go to
benchmarks/results/refined_poses_<avatar>.json.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
from itertools import repeat
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from synctalk.avatar import Avatar, Driving
from synctalk.dataset import SubjectDataset
from synctalk.evaluation.landmarks import head_mask, mouth_mask
from synctalk.evaluation.machine import describe_machine
from synctalk.evaluation.scoring import Scores

ROOT = Path(__file__).resolve().parent.parent
STEP = np.array([0.1, 0.1, 0.1, 0.2, 0.2, 1.0])  # of differences: degrees, mm; depth moves least
MAX_UPDATE = 5 * STEP

Image = NDArray[np.uint8]
Mask = NDArray[np.bool_]


def moved(driving: Driving, by: NDArray[np.float64]) -> Driving:
    """One frame of ``driving`` at the poses ``by`` [N,6]: degrees about and mm along the camera."""
    turn = Rotation.from_rotvec(np.deg2rad(by[:, :3])).as_matrix()
    return Driving(
        driving.lip.repeat(len(by), 0),
        driving.expression.repeat(len(by), 0),
        (turn @ driving.R).astype(np.float32),
        (driving.t + by[:, 3:]).astype(np.float32),
    )


def refined(
    avatar: Avatar, driving: Driving, plate: Image, frame: Image, mask: Mask, iterations: int
) -> NDArray[np.float64]:
    """The change of pose [6] that brings the rendered head closest to ``frame`` within ``mask``."""
    pose = np.zeros(6)
    target = frame[mask].astype(np.float64).ravel()

    def heads(poses: NDArray[np.float64]) -> NDArray[np.float64]:
        images = avatar.render(moved(driving, poses), repeat(plate, len(poses)))
        return np.stack([image[mask].astype(np.float64).ravel() for image in images])

    for _ in range(iterations):
        seen = heads(pose + np.concatenate([np.zeros((1, 6)), np.diag(STEP), -np.diag(STEP)]))
        jacobian = ((seen[1:7] - seen[7:]) / 2).T
        update = np.linalg.lstsq(jacobian, target - seen[0], rcond=None)[0] * STEP
        pose = pose + np.clip(update, -MAX_UPDATE, MAX_UPDATE)
    first, last = heads(np.stack([np.zeros(6), pose]))
    return pose if np.square(last - target).sum() < np.square(first - target).sum() else np.zeros(6)


def main() -> None:
    """Measure both, print and write the means."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("avatar", type=Path)
    parser.add_argument("dataset", type=Path)
    parser.add_argument("--iterations", type=int, default=3)
    arguments = parser.parse_args()
    avatar, dataset = Avatar.load(arguments.avatar), SubjectDataset.open(arguments.dataset)
    span = dataset.held_out_range
    driving = avatar.driving_from_tracks(dataset.tracks)
    tracked, better, changes = Scores(), Scores(), []
    footage = zip(
        dataset.frames(span.start),
        dataset.plates(span.start),
        dataset.mattes(span.start),
        strict=True,
    )
    for i, (frame, plate, matte) in zip(span, footage, strict=True):
        head = head_mask(matte)
        mouth = mouth_mask(dataset.tracks.landmarks68[i], *frame.shape[:2])
        one = driving[slice(i, i + 1)]
        change = refined(avatar, one, plate, frame, head, arguments.iterations)
        pair = avatar.render(moved(one, np.stack([np.zeros(6), change])), [plate, plate])
        for scores, image in zip((tracked, better), pair, strict=True):
            scores.add(image, frame, head, mouth)
        changes.append(change)
    moved_by = np.abs(np.array(changes)).mean(0).round(3).tolist()
    result = {
        "avatar": arguments.avatar.name,
        "frames": len(span),
        "tracked_poses": means(tracked),
        "refined_on_held_out_pixels": means(better),
        "mean_change_deg": moved_by[:3],
        "mean_change_mm": moved_by[3:],
        "machine": dataclasses.asdict(describe_machine()),
    }
    out = ROOT / "benchmarks" / "results" / f"refined_poses_{arguments.avatar.name}.json"
    out.write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps(result, indent=2))


def means(scores: Scores) -> dict[str, float]:
    """Mean figures over the frames."""
    return {name: round(value, 4) for name, value in scores.result().means().items()}


if __name__ == "__main__":
    main()
