"""Phrases of the held-out part, to be looked at: filmed mouth, ours by audio, difference.

    python benchmarks/phrases.py AVATAR DATASET --out SHEET.jpg

A phrase is what lies between two pauses of a fifth of a second. The longest are shown, each by
twelve frames spread evenly over it: the mouth as filmed, as it is delivered (blended into the
source) when the held-out sound alone drives it, and the absolute difference, four times brighter.
Only sheets of people who may be shown belong into ``results``.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from synctalk.avatar import Avatar
from synctalk.benchmark.actors import AvatarActor
from synctalk.benchmark.scene import own_scene
from synctalk.dataset import FPS, SAMPLE_RATE_HZ, SubjectDataset
from synctalk.evaluation.contact import contact_sheet, difference, save_image
from synctalk.face.topology import LIPS_OUTER

Image = NDArray[np.uint8]

PHRASES, SHOWN = 3, 12
PAUSE = FPS // 5
LOUD = 0.1
"""Of the level's 95th percentile: what is less is a pause."""
WIDTHS = 1.9
"""Side of what is shown, in widths of the mouth."""


def phrases(wav: NDArray[np.float32]) -> list[range]:
    """Frames of each phrase, the longest first."""
    n = len(wav) * FPS // SAMPLE_RATE_HZ
    level = np.sqrt(np.square(wav[: n * SAMPLE_RATE_HZ // FPS].reshape(n, -1)).mean(1))
    loud = np.flatnonzero(level > LOUD * np.percentile(level, 95))
    breaks = np.flatnonzero(np.diff(loud) > PAUSE) + 1
    runs = [range(run[0], run[-1] + 1) for run in np.split(loud, breaks) if len(run)]
    return sorted(runs, key=len, reverse=True)


def main() -> None:
    """Write the sheet."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("avatar", type=Path)
    parser.add_argument("dataset", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args()
    dataset = SubjectDataset.open(given.dataset)
    scene = own_scene(dataset)
    wanted = sorted(phrases(scene.wav)[:PHRASES], key=lambda phrase: phrase.start)
    at = [np.linspace(p[0], p[-1], SHOWN).astype(int).tolist() for p in wanted]
    lips = dataset.tracks.mesh[scene.order][:, list(LIPS_OUTER), :2]
    side = int(WIDTHS * np.median(np.ptp(lips[..., 0], axis=1)))
    pictures: dict[int, tuple[Image, Image]] = {}
    chosen = {i for row in at for i in row}
    for i, shown in enumerate(AvatarActor(Avatar.load(given.avatar)).show(scene)):
        if i in chosen:
            assert shown.blended is not None
            x, y = np.clip(lips[i].mean(0) - side / 2, 0, dataset.manifest.size - side).astype(int)
            window = slice(y, y + side), slice(x, x + side)
            pictures[i] = shown.source[window], shown.blended[window]
    rows, labels = [], []
    for row in at:
        filmed, ours = zip(*(pictures[i] for i in row), strict=True)
        apart = [difference(a, b) for a, b in zip(ours, filmed, strict=True)]
        rows += [list(filmed), list(ours), apart]
        first, last = ((int(scene.order[0]) + i) / FPS for i in (row[0], row[-1]))
        labels += [f"{first:.2f} to {last:.2f} s: filmed", "ours, by audio", "difference x 4"]
    save_image(str(given.out), contact_sheet(rows, labels, cell=128))


if __name__ == "__main__":
    main()
