"""The torso restorer: a closed mouth over a source whose mouth is open, against what was filmed.

    python benchmarks/torso.py AVATAR [--truth ../shared/data/virtual/subject_a] [--sheet FILE]

Frame ``i`` of an avatar's footage, mouth open, is rendered with the lips of a frame ``j`` a moment
before or after, mouth closed; between the two the head hardly moved, so frame ``j`` is what should
come out. With ``--truth``, the virtual subject's, the same is asked of ``ood_truth.mp4``: frames
of the clip rendered with the lips of frames of the other clip where head and torso stand nearly
alike, and compared with those (a similarity takes the rest away). Each with and without the
restorer, with and without portrait blending: mean absolute difference to the truth (levels of 255)
in a band around the true chin and jaw, in what only the source's jaw covers, and on the rest of the
person; NIQE and BRISQUE of the frames. "Filmed" is the portrait with the truth itself where the
restorer laid what it made, as a perfect one would. Flicker is the mean absolute second difference
over time in that band, of a shut mouth over running footage, beside the footage's own. Writes
benchmarks/results/torso_<subject>.json.
"Own mouth" is frames with the lips they have. ``--sheet`` also writes what was seen, enlarged:
source, truth, portrait without, with; only for people who may be shown.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from synctalk.avatar import Avatar, Driving
from synctalk.bundle import BUNDLE_PLATES, MATTE, SOURCE
from synctalk.dubbing import dub, dubbed_frames
from synctalk.evaluation.machine import describe_machine
from synctalk.evaluation.quality.naturalness import Brisque, Niqe
from synctalk.face import MeshFaceTracker
from synctalk.face.topology import CHIN, FACE_OVAL, RIGID
from synctalk.media import VideoReader, Yuv420, rgb_to_yuv, yuv_to_rgb
from synctalk.media.ordered import ordered_frames
from synctalk.render.torso import Neck, lay_neck

ROOT = Path(__file__).resolve().parent.parent
Image = NDArray[np.uint8]
Mask = NDArray[np.bool_]
Float = NDArray[np.float32]

REACH = 8
"""Frames between source and truth, at most."""
MOVED_PX = 1.0
"""How far rigid points of the face may move between them, mean, px at 512."""
ALIKE_PX = 1.2
"""The same between two clips, after a similarity."""
INSIDE, OUTSIDE = 6.0, 24.0
"""The band at the chin: px at 512 inside and outside the tracked jaw."""
FILMED_BLUR_PX = 1.5
"""px over which a filmed neck goes over into the portrait."""
LEAST_GAP = 50
"""px of a gap under the jaw that are worth measuring."""
PAIRS = 30
FLICKER_FRAMES = 100
MODES = tuple((p, t) for p in ("plain", "portrait") for t in ("off", "restored"))
FILMED = ("portrait", "filmed")


@dataclass(frozen=True)
class Pair:
    """A source frame, the lips to give it, and what should come of it.

    Args:
        index: source frame.
        lips: [1,K] coefficients.
        truth: [S,S,3]; mesh: [478,2], its face.
        person: bool [S,S].
    """

    index: int
    lips: Float
    truth: Image
    mesh: Float
    person: Mask | bool


def apart(chosen: list[tuple[float, int, int]], least: int) -> list[tuple[int, int]]:
    """The best pairs of (score, i, j), no two within ``least`` frames."""
    kept: list[tuple[int, int]] = []
    for _, i, j in sorted(chosen, reverse=True):
        if all(abs(i - k) > least for k, _ in kept):
            kept.append((i, j))
    return kept[:PAIRS]


def neighbours(person: Avatar) -> Iterator[Pair]:
    """Open mouths of the clip's longest shot, and closed ones a moment away."""
    manifest, mesh = person.manifest, person.source_mesh[..., :2]
    shot = manifest.played
    gap = person.mouth_opening_mm(person.source.lip)
    at = np.arange(shot.start, shot.stop)
    is_open = gap > np.percentile(gap[at], 60)
    found = []
    for i in at[is_open[at]]:
        others = np.arange(max(shot.start, i - REACH), min(shot.stop, i + REACH + 1))
        rigid = list(RIGID)
        moved = np.abs(mesh[others][:, rigid] - mesh[i, rigid]).mean((1, 2)) * 512 / manifest.size
        others = others[moved < MOVED_PX]
        j = int(others[gap[others].argmin()])
        found.append((float(gap[i] - gap[j]), int(i), j))
    folder = person.bundle.path
    with VideoReader(folder / SOURCE) as video, VideoReader(folder / MATTE) as mattes:
        for i, j in apart(found, REACH):
            part, size = manifest.crop, manifest.size
            matte = part.cut(mattes.read_grey(j), size) > 128
            lips = person.source.lip[j : j + 1]
            yield Pair(i, lips, part.cut(video.read(j), size), mesh[j], matte)


def own_mouth(person: Avatar) -> Iterator[Pair]:
    """Frames with their own lips: nothing had to be restored, so this is what it costs."""
    manifest = person.manifest
    part, size, folder = manifest.crop, manifest.size, person.bundle.path
    shot = manifest.played
    with VideoReader(folder / SOURCE) as video, VideoReader(folder / MATTE) as mattes:
        for i in np.linspace(shot.start, shot.stop - 1, PAIRS // 2).astype(int):
            matte = part.cut(mattes.read_grey(i), size) > 128
            mesh = person.source_mesh[i, :, :2]
            yield Pair(int(i), person.source.lip[[i]], part.cut(video.read(i), size), mesh, matte)


def other_clip(person: Avatar, truth: Path) -> Iterator[Pair]:
    """Open mouths of the clip, and closed ones of the virtual subject's other clip."""
    ours, other = np.load(truth / "truth.npz"), np.load(truth / "ood_truth.npz")
    n = person.manifest.n_frames
    mine, theirs = marks(ours)[:n], marks(other)
    gap = ours["lip_gap_mm"][:n, None] - other["lip_gap_mm"][None]
    away = np.linalg.norm(mine[:, None] - theirs[None], axis=-1).mean(-1)
    near = np.argwhere((gap > 6) & (away < 3))
    found, moves = [], {}
    for i, k in near:
        move, _ = cv2.estimateAffinePartial2D(theirs[k], mine[i], method=cv2.LMEDS)
        left = np.linalg.norm(theirs[k] @ move[:, :2].T + move[:, 2] - mine[i], axis=-1).mean()
        if left < ALIKE_PX:
            moves[int(i), int(k)] = move
            found.append((float(gap[i, k] - 10 * left), int(i), int(k)))
    frames = list(VideoReader(truth / "ood_truth.mp4"))
    mattes = list(VideoReader(truth / "matte_ood.mp4").iter_grey())
    track = MeshFaceTracker().track(iter(frames))
    assert track.mesh is not None
    for i, k in apart(found, REACH):
        size = (person.manifest.size,) * 2
        move = moves[i, k]
        mesh = track.mesh[k, :, :2] @ move[:, :2].T + move[:, 2]
        lips = lips_of(person, track.mesh[k], i)
        warp = [
            cv2.warpAffine(p, move, size, flags=cv2.INTER_CUBIC) for p in (frames[k], mattes[k])
        ]
        yield Pair(i, lips, warp[0], mesh.astype(np.float32), warp[1] > 128)


def marks(truth: np.lib.npyio.NpzFile) -> NDArray[np.float64]:
    """Points of head and torso, [T,7,2] px."""
    head = np.array([[-50, 0, 0], [50, 0, 0], [0, -40, 30], [0, 60, 0]], float)
    torso = np.array([[0, -150, -60], [80, -180, -60], [-80, -180, -60]], float)
    points = [
        np.einsum("nij,pj->npi", truth[f"R_{name}"], rest) + truth[f"t_{name}"][:, None]
        for name, rest in (("head", head), ("torso", torso))
    ]
    flat = np.concatenate(points, 1) @ truth["K"].T
    return flat[..., :2] / flat[..., 2:]


def lips_of(person: Avatar, mesh: Float, index: int) -> Float:
    """Lip coefficients of another clip's face, from the nearest mouth of the avatar's footage."""
    mouth = [0, 13, 14, 17, 61, 291, 78, 308, 81, 311, 178, 402]
    seen = person.source_mesh[:, mouth, :2]
    other = mesh[mouth, :2]

    def shape(points: Float) -> Float:
        return points - points.mean(-2, keepdims=True)

    nearest = np.abs(shape(seen) - shape(other)).mean((1, 2)).argmin()
    return person.source.lip[nearest : nearest + 1]


def rendered(person: Avatar, pair: Pair) -> dict[tuple[str, str], Image]:
    """The pair's frame in all modes and with the filmed neck, [S,S,3]."""
    folder, at = person.bundle.path, np.array([pair.index])
    moves = person.source[at]
    driving = Driving(pair.lips, moves.expression, moves.R, moves.t)
    pictures = {}
    for portrait, torso in MODES:
        plate, source = (read(folder / name, pair.index) for name in (BUNDLE_PLATES, SOURCE))
        neck: Neck | None = None
        if torso == "restored":
            neck = next(person.necks(at, pair.lips))
            if neck is not None:
                lay_neck(plate, neck)
        crop = next(person.render_yuv(driving, [plate]))
        if portrait == "portrait":
            person.blend_into(source, crop, person.source_mesh[pair.index], neck)
            crop = source
        image = yuv_to_rgb(crop)
        if portrait == "portrait":
            image = person.manifest.crop.cut(image, person.manifest.size)
        pictures[portrait, torso] = image
    pictures[FILMED] = with_filmed_neck(pictures, pair)
    return pictures


def with_filmed_neck(pictures: dict[tuple[str, str], Image], pair: Pair) -> Image:
    """The portrait with the truth where the restorer changed it."""
    without = pictures["portrait", "off"].astype(np.float32)
    changed = (pictures["portrait", "off"] != pictures["portrait", "restored"]).any(-1)
    share = cv2.dilate(changed.astype(np.float32), np.ones((3, 3), np.float32))
    share = cv2.GaussianBlur(share, (0, 0), FILMED_BLUR_PX)[..., None]
    return np.round(without + (pair.truth - without) * share).astype(np.uint8)


def read(path: Path, index: int) -> Yuv420:
    return rgb_to_yuv(VideoReader(path).read(index))


def chin_band(pair: Pair) -> Mask:
    """Around the true jaw, from its angle to its angle."""
    size = len(pair.truth)
    face = face_of(pair.mesh, size)
    within = cv2.distanceTransform(face, cv2.DIST_L2, 5)
    without = cv2.distanceTransform(1 - face, cv2.DIST_L2, 5)
    band = (within <= INSIDE * size / 512) & (without <= OUTSIDE * size / 512)
    below = np.arange(size)[:, None] > pair.mesh[[58, 288], 1].mean()
    return band & below & pair.person


def uncovered(person: Avatar, pair: Pair) -> Mask:
    """What the source's jaw covers and the true one does not: here something must be made up."""
    true, filmed = (
        face_of(m, len(pair.truth)) for m in (pair.mesh, person.source_mesh[pair.index])
    )
    kernel = np.ones((5, 5), np.uint8)  # the face is seen a little beyond its tracked outline
    gap = (cv2.dilate(filmed, kernel) > 0) & (cv2.dilate(true, kernel) == 0)
    below = np.arange(len(gap))[:, None] > pair.mesh[[58, 288], 1].mean()
    return gap & below & pair.person


def face_of(mesh: Float, size: int) -> Image:
    face = np.zeros((size, size), np.uint8)
    return cv2.fillPoly(face, [np.round(mesh[list(FACE_OVAL), :2]).astype(np.int32)], 1)


def difference(image: Image, pair: Pair, where: Mask) -> float:
    return float(np.abs(image[where].astype(np.float32) - pair.truth[where]).mean())


class Scores:
    """What one mode gave, pair by pair."""

    def __init__(self) -> None:
        self.chin: list[float] = []
        self.rest: list[float] = []
        self.uncovered: list[float] = []
        self.niqe: list[NDArray[np.float64]] = []
        self.brisque: list[float] = []
        self.brisque_neck: list[float] = []

    def figures(self, niqe: Niqe) -> dict[str, float | None]:
        gap = round(statistics.mean(self.uncovered), 3) if self.uncovered else None
        return {
            "uncovered_mad": gap,
            "chin_mad": round(statistics.mean(self.chin), 3),
            "rest_of_person_mad": round(statistics.mean(self.rest), 3),
            "chin_more_than_rest": round(
                statistics.mean(self.chin) - statistics.mean(self.rest), 3
            ),
            "niqe": round(niqe.score(np.concatenate(self.niqe)), 3),
            "brisque": round(statistics.mean(self.brisque), 2),
            "brisque_neck": round(statistics.mean(self.brisque_neck), 2),
        }


def measure(
    person: Avatar, pairs: Iterator[Pair], weights: Path
) -> tuple[dict[str, object], list[Image]]:
    niqe = Niqe(weights / "niqe_pris_params.npz")
    brisque = Brisque(weights / "brisque_model_live.yml", weights / "brisque_range_live.yml")
    scores = {mode: Scores() for mode in (*MODES, FILMED)}
    n, rows = 0, []
    for pair in pairs:
        n += 1
        pictures, band = rendered(person, pair), chin_band(pair)
        gap = uncovered(person, pair)
        for mode, image in pictures.items():
            into = scores[mode]
            into.chin.append(difference(image, pair, band))
            into.rest.append(difference(image, pair, pair.person & ~band))
            if np.count_nonzero(gap) >= LEAST_GAP:
                into.uncovered.append(difference(image, pair, gap))
            into.niqe.append(niqe.features(image))
            into.brisque.append(brisque.score(image))
            into.brisque_neck.append(brisque.score(around_chin(image, pair.mesh)))
        source = yuv_to_rgb(read(person.bundle.path / SOURCE, pair.index))
        shown = (
            person.manifest.crop.cut(source, person.manifest.size), pair.truth,
            pictures["portrait", "off"], pictures["portrait", "restored"],
        )  # fmt: skip
        rows.append(np.hstack([around_chin(image, pair.mesh) for image in shown]))
    figures = {f"{p}_{t}": scores[p, t].figures(niqe) for p, t in scores}
    return {"pairs": n, **figures}, rows


def around_chin(image: Image, mesh: Float) -> Image:
    """A square around the chin, as wide as the face, [256,256,3]."""
    side = int(np.ptp(mesh[list(FACE_OVAL), 0]) * 1.2)
    left, top = (
        max(0, int(at - side * share)) for at, share in zip(mesh[CHIN], (0.5, 0.65), strict=True)
    )
    part = image[top : top + side, left : left + side]
    return cv2.resize(part, (256, 256), interpolation=cv2.INTER_CUBIC)


def flicker(person: Avatar) -> dict[str, float]:
    """In the band under the jaw, while the mouth stays shut over a running source."""
    manifest = person.manifest
    shot = manifest.played
    order = np.arange(shot.start, min(shot.stop, shot.start + FLICKER_FRAMES))
    moves = person.source[order]
    shut = person.source.lip[[person.mouth_opening_mm(person.source.lip).argmin()]]
    driving = Driving(shut.repeat(len(order), 0), moves.expression, moves.R, moves.t)
    bands = [
        chin_band(Pair(i, shut, np.zeros((manifest.size,) * 2, np.uint8), mesh, True))
        for i, mesh in zip(order, person.source_mesh[order, :, :2], strict=True)
    ]
    figures = {}
    for name in ("source", "off", "restored"):
        if name == "source":
            frames = ordered_frames(person.bundle.path / SOURCE, order)
        else:
            frames = dubbed_frames(person, driving, order, None, torso=name == "restored")
        luma = [manifest.crop.cut(f.y, manifest.size).astype(np.float32) for f in frames]
        jumps = [
            np.abs(a - 2 * b + c)[band].mean()
            for a, b, c, band in zip(luma, luma[1:], luma[2:], bands[1:], strict=False)
        ]
        figures[name] = round(float(np.mean(jumps)), 3)
    return figures


def cost_ms(person: Avatar) -> dict[str, float]:
    """CPU milliseconds a frame of what the restorer adds to a dub, each alone."""
    manifest = person.manifest
    shot = manifest.played
    order = np.arange(shot.start, min(shot.stop, shot.start + FLICKER_FRAMES))
    plate, source = (
        read(person.bundle.path / name, shot.start) for name in (BUNDLE_PLATES, SOURCE)
    )
    mesh = person.source_mesh[order]
    opening = person.mouth_opening_mm(person.source.lip)
    shut = person.source.lip[[opening.argmin()]].repeat(len(order), 0)
    begin = time.process_time()
    necks = list(person.necks(order, shut))
    decoded = time.process_time()
    for neck in necks:
        if neck is not None:
            lay_neck(plate, neck)
    laid = time.process_time()
    for m in mesh:
        person.blend_into(source, plate, m)
    blended = time.process_time()
    for m, neck in zip(mesh, necks, strict=True):
        person.blend_into(source, plate, m, neck)
    end = time.process_time()
    steps = {
        "decode": decoded - begin,
        "lay": laid - decoded,
        "blend, more": (end - blended) - (blended - laid),
    }
    return {name: round(1000 * s / len(order), 3) for name, s in steps.items()}


def speed(avatar: Path, audio: Path, repeats: int) -> dict[str, float]:
    """Median frames per second of whole dubs, portrait on."""
    fps: dict[str, list[float]] = {"off": [], "restored": []}
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(repeats):
            for name, into in fps.items():
                out = Path(folder) / "dub.mp4"
                into.append(dub(avatar, audio, out, torso=name == "restored").fps)
    return {name: round(statistics.median(values), 1) for name, values in fps.items()}


def main() -> None:
    """Measure and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("avatar", type=Path)
    parser.add_argument("--truth", type=Path, help="the virtual subject's folder")
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data")
    parser.add_argument("--audio", type=Path, default=ROOT / "samples" / "speech.wav")
    parser.add_argument("--repeats", type=int, default=3, help="dubs for the speed; 0: none")
    parser.add_argument("--sheet", type=Path)
    arguments = parser.parse_args()
    person = Avatar.load(arguments.avatar)
    weights = arguments.data / "weights" / "quality"
    manifest = person.manifest
    settings = {name: manifest.settings[name] for name in ("preset", "steps")}
    summary: dict[str, object] = {"subject": manifest.subject, **settings}
    summary["neighbouring frames"], rows = measure(person, neighbours(person), weights)
    summary["own mouth"], _ = measure(person, own_mouth(person), weights)
    if arguments.truth is not None:
        pairs = other_clip(person, arguments.truth)
        summary["other clip"], more = measure(person, pairs, weights)
        rows += more
    summary["flicker"] = flicker(person)
    summary["cost_ms_per_frame"] = cost_ms(person)
    if arguments.repeats:
        summary["dub_fps_median"] = speed(arguments.avatar, arguments.audio, arguments.repeats)
    summary["machine"] = asdict(describe_machine())
    if arguments.sheet is not None:
        cv2.imwrite(str(arguments.sheet), cv2.cvtColor(np.vstack(rows), cv2.COLOR_RGB2BGR))
    out = ROOT / "benchmarks" / "results" / f"torso_{person.manifest.subject}.json"
    out.write_text(json.dumps(summary, indent=2) + "\n")
    print(json.dumps(summary, indent=2))


if __name__ == "__main__":
    main()
