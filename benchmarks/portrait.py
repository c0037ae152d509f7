"""The portrait's edge and what lies inside it: hair, seam, stability and teeth (METHOD row 11).

    python benchmarks/portrait.py AVATAR DATASET [--frames 250] [--sheet FILE]

The last frames of the footage that dubbing plays and was learnt from, and the last held-out frames,
are rendered with the lips they have and with those of two seconds earlier; plain, and blended into
the source. Differences are of the crop's luma, in levels of 255; detail is the mean absolute
Laplacian as a share of the source's:

- hair (of the parsing's labels), under other lips: difference and detail, and the share of its
  pixels that the portrait's mask touches;
- seam (where the mask is between a tenth and nine tenths, above the mouth): how far the mean colour
  of what is rendered there is from the source's, frame by frame, on learnt and on held-out frames;
  and the mean absolute second difference over time there, beside the source's own;
- teeth (inside the inner lips of the most opened mouths), under the lips they have, by tracked
  landmarks: difference and detail, on learnt and on held-out frames.

Writes benchmarks/results/portrait_<subject>.json. ``--sheet`` also writes what was seen, under
other lips: source, plain, portrait; only for people who may be shown.
"""

from __future__ import annotations

import argparse
import json
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from synctalk.avatar import Avatar, Driving
from synctalk.dataset import SubjectDataset
from synctalk.dubbing import dubbed_frames
from synctalk.evaluation.machine import describe_machine
from synctalk.face.parsing import PartLabel
from synctalk.face.topology import LIPS_INNER
from synctalk.media import yuv_to_rgb
from synctalk.render.portrait import face_mask

ROOT = Path(__file__).resolve().parent.parent
Image = NDArray[np.uint8]
Mask = NDArray[np.bool_]
Float = NDArray[np.float32]

EARLIER = 50
"""Frames that the other lips come from before."""
TOUCHED = 0.02
RING = (0.1, 0.9)
OPEN_SHARE = 0.3
"""Share of the frames, those of the most opened mouths, whose teeth are looked at."""
LEAST = 50
"""px of hair or of the inside of a mouth that are worth measuring."""
SHOWN_EVERY = 50
Figures = dict[str, list[float]]


@dataclass(frozen=True)
class Seen:
    """A frame of the footage and what was made of it, crops [S,S,3].

    Args:
        index: of the footage; ``held_out`` if nothing was learnt from it.
        source: as it was filmed.
        plain, portrait: under its own lips.
        other_plain, other_portrait: under those of another frame.
        labels: [S,S] parts.
        weight: [S,S] of the portrait's mask.
        opened: whether its mouth is among the most opened.
    """

    index: int
    held_out: bool
    source: Image
    plain: Image
    portrait: Image
    other_plain: Image
    other_portrait: Image
    labels: Image
    weight: Float
    opened: bool


def stretches(dataset: SubjectDataset, frames: int) -> list[range]:
    """Frames that were learnt from, and held-out ones."""
    played, held_out = dataset.played, dataset.held_out_range
    end = min(played.stop, held_out.start)
    start = max(dataset.manifest.cuts[-1] if dataset.manifest.cuts else 0, held_out.start)
    return [
        range(max(played.start + EARLIER, end - frames), end),
        range(max(start, held_out.stop - frames), held_out.stop),
    ]


def looked_at(person: Avatar, dataset: SubjectDataset, stretch: range) -> Iterator[Seen]:
    """The frames of a stretch."""
    size, order = dataset.manifest.size, np.array(stretch)
    moves = person.source[order]
    other = Driving(person.source.lip[order - EARLIER], moves.expression, moves.R, moves.t)
    opening = person.mouth_opening_mm(moves.lip)
    wide = np.quantile(opening, 1 - OPEN_SHARE)

    def rendered(driving: Driving, portrait: bool) -> Iterator[Image]:
        for frame in dubbed_frames(person, driving, order, None, portrait=portrait):
            image = yuv_to_rgb(frame)
            yield dataset.manifest.crop.cut(image, size) if portrait else image

    start = int(order[0])
    streams = zip(
        order.tolist(), dataset.frames(start), rendered(moves, False), rendered(moves, True),
        rendered(other, False), rendered(other, True), dataset.masks(start), opening,
        strict=False,
    )  # fmt: skip
    for index, source, *made, labels, gap in streams:
        mask = face_mask(person.source_mesh[index], size, size)
        weight = np.zeros((size, size), np.float32)
        mask.cut(weight)[...] = mask.weight
        held_out = index in dataset.held_out_range
        yield Seen(index, held_out, source, *made, labels, weight, bool(gap >= wide))


def hair(seen: Seen, into: Figures) -> None:
    where = seen.labels == PartLabel.HAIR
    if np.count_nonzero(where) < LEAST:
        return
    into["touched"].append(float((seen.weight[where] > TOUCHED).mean()))
    for name, image in (("plain", seen.other_plain), ("portrait", seen.other_portrait)):
        into[f"{name}_mad"].append(difference(image, seen.source, where))
        into[f"{name}_detail"].append(detail(image, where) / detail(seen.source, where))


def seam(seen: Seen, mesh: Float, into: Figures) -> None:
    where = ring(seen, mesh)
    far = np.abs(seen.plain[where].mean(0) - seen.source[where].mean(0)).mean()
    into["held_out_colour" if seen.held_out else "learnt_colour"].append(float(far))


def ring(seen: Seen, mesh: Float) -> Mask:
    above = np.arange(len(seen.weight))[:, None] < mesh[list(LIPS_INNER), 1].mean()
    return (seen.weight > RING[0]) & (seen.weight < RING[1]) & above


def teeth(seen: Seen, mesh: Float, into: Figures) -> None:
    inside = np.zeros(seen.weight.shape, np.uint8)
    hull = cv2.convexHull(np.round(mesh[list(LIPS_INNER), :2]).astype(np.int32))
    cv2.fillPoly(inside, [hull], 1)
    where = inside > 0
    if not seen.opened or np.count_nonzero(where) < LEAST:
        return
    kind = "held_out" if seen.held_out else "learnt"
    into[f"{kind}_mad"].append(difference(seen.plain, seen.source, where))
    into[f"{kind}_detail"].append(detail(seen.plain, where) / detail(seen.source, where))


def luma(image: Image) -> Float:
    return np.asarray(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), np.float32)


def difference(image: Image, source: Image, where: Mask) -> float:
    return float(np.abs(luma(image) - luma(source))[where].mean())


def detail(image: Image, where: Mask) -> float:
    """Mean absolute Laplacian, levels."""
    return float(np.abs(cv2.Laplacian(luma(image), cv2.CV_32F))[where].mean())


def jumps(three: list[Image], where: Mask) -> float:
    before, now, after = map(luma, three)
    return float(np.abs(before - 2 * now + after)[where].mean())


def measure(
    person: Avatar, dataset: SubjectDataset, frames: int
) -> tuple[dict[str, object], Image]:
    """The figures, and the sheet."""
    figures: dict[str, Figures] = {name: defaultdict(list) for name in ("hair", "seam", "teeth")}
    rows: list[Image] = []
    for stretch in stretches(dataset, frames):
        look(person, looked_at(person, dataset, stretch), figures, rows)
    summary: dict[str, object] = {
        part: {name: round(float(np.mean(found)), 3) for name, found in sorted(of.items())}
        for part, of in figures.items()
    }
    return summary, np.vstack(rows)


def look(
    person: Avatar, frames: Iterator[Seen], figures: dict[str, Figures], rows: list[Image]
) -> None:
    """Add what consecutive frames give to the figures, and some of them to the sheet."""
    last: list[Seen] = []
    for n, seen in enumerate(frames):
        mesh = person.source_mesh[seen.index]
        hair(seen, figures["hair"])
        seam(seen, mesh, figures["seam"])
        teeth(seen, mesh, figures["teeth"])
        last = [*last[-2:], seen]
        if len(last) == 3:
            where = ring(last[1], person.source_mesh[last[1].index])
            for name in ("source", "portrait"):
                three = [getattr(each, name) for each in last]
                figures["seam"][f"{name}_jumps"].append(jumps(three, where))
        if n % SHOWN_EVERY == 0:
            rows.append(np.hstack([seen.source, seen.other_plain, seen.other_portrait]))


def main() -> None:
    """Measure and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("avatar", type=Path)
    parser.add_argument("dataset", type=Path)
    parser.add_argument("--frames", type=int, default=200, help="of each of the two kinds")
    parser.add_argument("--sheet", type=Path)
    arguments = parser.parse_args()
    person, dataset = Avatar.load(arguments.avatar), SubjectDataset.open(arguments.dataset)
    manifest = person.manifest
    figures, sheet = measure(person, dataset, arguments.frames)
    settings = {name: manifest.settings[name] for name in ("preset", "steps")}
    summary = {"subject": manifest.subject, **settings, "frames": arguments.frames, **figures}
    summary["machine"] = asdict(describe_machine())
    if arguments.sheet is not None:
        cv2.imwrite(str(arguments.sheet), cv2.cvtColor(sheet, cv2.COLOR_RGB2BGR))
    out = ROOT / "benchmarks" / "results" / f"portrait_{manifest.subject}.json"
    out.write_text(json.dumps(summary, indent=2) + "\n")
    print(json.dumps(summary, indent=2))


if __name__ == "__main__":
    main()
