"""SyncTalk (P), the predecessor's tri-plane hash field, trained and scored beside our figures.

    python benchmarks/synctalk_p.py --dataset out/bench/anchor_71s_512.dataset
        [--size 128] [--seconds 180 | --steps N] [--seed 0] [--keep FOLDER] [--contact-sheet]

Trains on the dataset's training frames and scores the held-out 1/11 by the protocol that scores
our avatars: the head is rendered at ``--size`` and scaled up to the dataset's size, where it is
laid over the same plates. Lips from tracked landmarks, from audio, and, for LMD, a mean mouth that
never moves. Writes benchmarks/results/synctalk_p_<clip>_<size>.json; for a person who may be shown
also a contact sheet: source, rendered, portrait.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import tempfile
from pathlib import Path

import cv2
import numpy as np

from synctalk.baselines.synctalk_p import FieldConfig, Progressed, SyncTalkP, train_synctalk_p
from synctalk.dataset import SubjectDataset
from synctalk.evaluation.landmarks import landmark_distance
from synctalk.evaluation.machine import describe_machine
from synctalk.evaluation.protocol import measure_reconstruction
from synctalk.evaluation.report import figures
from synctalk.face import make_tracker
from synctalk.face.tracking import FaceTracker

RESULTS = Path(__file__).resolve().parent / "results"
SHOWN = 6


def mean_mouth_lmd(head: SyncTalkP, dataset: SubjectDataset, tracker: FaceTracker) -> float:
    """LMD, px at 512, of the same head with the mean mouth of the training frames."""
    span, size = dataset.held_out_range, dataset.manifest.size
    driving = head.driving_from_tracks(dataset.tracks)
    learnt = driving.lip[: span.start][dataset.tracks.valid[: span.start]]
    mean = np.repeat(learnt.mean(0, keepdims=True), len(driving), axis=0)
    still = dataclasses.replace(driving, lip=mean)
    cuts = [c - span.start for c in dataset.manifest.cuts if c > span.start]
    source = tracker.track(dataset.frames(span.start), cuts=cuts)
    frames = head.render(still[slice(span.start, span.stop)], dataset.plates(span.start))
    shown = tracker.track(frames, cuts=cuts)
    both = source.found & shown.found
    return float(landmark_distance(shown.landmarks68, source.landmarks68, size)[both].mean())


def contact_sheet(head: SyncTalkP, dataset: SubjectDataset, path: Path) -> None:
    """Rows of source, rendered and portrait frames, evenly spread over the held-out part."""
    span = dataset.held_out_range
    wanted = np.linspace(span.start, span.stop - 1, SHOWN).round().astype(int)
    driving = head.driving_from_tracks(dataset.tracks)
    stream = enumerate(dataset.frames_and_plates(span.start), start=span.start)
    pairs = {i: pair for i, pair in stream if i in set(wanted.tolist())}
    columns = []
    for i in wanted:
        frame, plate = pairs[int(i)]
        (crop,) = head.render(driving[slice(i, i + 1)], [plate])
        blended = head.blend_portrait(crop, frame, dataset.tracks.mesh[i])
        columns.append(np.concatenate([frame, crop, blended]))
    sheet = cv2.resize(
        np.concatenate(columns, 1), None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA
    )
    cv2.imwrite(str(path), sheet[..., ::-1])


def main() -> None:
    """Train, score, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dataset", type=Path, required=True)
    parser.add_argument("--size", type=int, default=FieldConfig.size)
    budget = parser.add_mutually_exclusive_group()
    budget.add_argument("--seconds", type=float, help="train for so long; depends on the machine")
    budget.add_argument("--steps", type=int, default=FieldConfig.steps)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep", type=Path, help="folder to write the trained head to")
    parser.add_argument("--contact-sheet", type=Path, help="only for people who may be shown")
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    config = FieldConfig(
        size=arguments.size, steps=arguments.steps, seconds=arguments.seconds, seed=arguments.seed
    )
    dataset = SubjectDataset.open(arguments.dataset)
    history: list[Progressed] = []
    head = train_synctalk_p(dataset, config, on_step=history.append)
    print(f"{history[-1].step} steps in {history[-1].seconds:.0f} s", flush=True)
    if arguments.keep:
        head.save(arguments.keep)
    tracker = make_tracker("mesh", "cpu")
    with tempfile.TemporaryDirectory() as folder:
        measured = measure_reconstruction(head, dataset, Path(folder), tracker=tracker)
    report = figures(measured)
    result = {
        "clip": head.manifest.subject,
        "method": head.manifest.settings["preset"],
        "how_sizes_compare": f"rendered at {config.size} px, scaled up bicubically with its alpha "
        f"to {dataset.manifest.size} px, and laid over plates of that size",
        "steps": history[-1].step,
        "train_s": round(history[-1].seconds, 1),
        "render_fps": round(1000 / measured.timings.frame_ms["render"], 2),
        "lmd": {
            "tracked": report["lmd"],
            "audio": report["audio_driven"]["lmd"],
            "mean_mouth": round(mean_mouth_lmd(head, dataset, tracker), 3),
        },
        "report": report,
        "machine": dataclasses.asdict(describe_machine()),
    }
    clip = head.manifest.subject
    out = arguments.out or RESULTS / f"synctalk_p_{clip}_{config.size}.json"
    out.write_text(json.dumps(result, indent=2) + "\n")
    if arguments.contact_sheet:
        contact_sheet(head, dataset, arguments.contact_sheet)
    print(json.dumps({k: result[k] for k in ("lmd", "steps", "train_s", "render_fps")}))
    print(json.dumps({k: report[k] for k in ("psnr", "psnr_head", "psnr_mouth", "psnr_portrait")}))


if __name__ == "__main__":
    main()
