"""The watermark: what it survives, what it costs, and how often it is seen where it is not.

    python benchmarks/watermark.py attacks|cost|false-positives [--data ../shared/data/video]

``attacks`` marks a second of each real clip, encodes it as it is delivered (H.264, crf 18),
attacks it, and looks for the mark: in the second as a video, and in single frames as screenshots
of it. ``cost`` times marking on one core and weighs what it does to pictures and files.
``false-positives`` looks for marks in real footage that has none. All write to
benchmarks/results/watermark.json.
"""

from __future__ import annotations

import argparse
import io
import json
import statistics
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from fractions import Fraction
from functools import partial
from itertools import islice
from pathlib import Path

import av
import cv2
import numpy as np
from numpy.typing import NDArray

from synctalk.evaluation.machine import describe_machine
from synctalk.provenance.coding import CHECK_BITS
from synctalk.provenance.detection import Detection, detect, flatten
from synctalk.provenance.embedding import Marker

ROOT = Path(__file__).resolve().parent.parent
RESULT = ROOT / "benchmarks" / "results" / "watermark.json"
KEY, MARK = b"a key for benchmarks alone", 0x123456789ABC
FRAMES = 25
SHOT_FRAMES = (5, 15)
CANDIDATES = 24  # of ids that a search reads, at most
# Left, top, width and height of the face, px.
CLIPS = {
    "anchor_71s_512": (160, 100, 190, 230),
    "glasses_5s_524": (170, 130, 190, 230),
    "moving_background_8s_512": (160, 110, 190, 230),
    "speech_20s_450": (140, 80, 170, 210),
}

I420 = NDArray[np.uint8]  # [1.5 H, W]
Video = list[I420]
Attack = Callable[[Video, str], Video]


def luma(frame: I420) -> NDArray[np.uint8]:
    return frame[: frame.shape[0] * 2 // 3]


def read(path: Path, count: int, start: int = 0) -> Video:
    with av.open(str(path)) as container:
        frames = (frame for i, frame in enumerate(container.decode(video=0)) if i >= start)
        return [f.reformat(format="yuv420p").to_ndarray() for f in islice(frames, count)]


def marked(video: Video) -> Video:
    marker = Marker(MARK, KEY, *luma(video[0]).shape[::-1])
    copies = [frame.copy() for frame in video]
    for copy in copies:
        marker.mark(luma(copy))
    return copies


def encoded(video: Video, _clip: str, codec: str = "libx264", **options: str) -> tuple[Video, int]:
    """The frames after an encoder, and the bytes that it wrote."""
    file = io.BytesIO()
    with av.open(file, "w", format="matroska") as container:
        stream = container.add_stream(codec, rate=25, options={"threads": "1", **options})
        stream.height, stream.width = luma(video[0]).shape
        stream.pix_fmt = "yuv420p"
        for number, array in enumerate(video):
            frame = av.VideoFrame.from_ndarray(array, format="yuv420p")
            frame.pts, frame.time_base = number, Fraction(1, 25)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    size = file.tell()
    file.seek(0)
    with av.open(file) as container:
        return [f.reformat(format="yuv420p").to_ndarray() for f in container.decode(video=0)], size


def recoded(video: Video, clip: str, codec: str = "libx264", **options: str) -> Video:
    return encoded(video, clip, codec, **options)[0]


def scaled(video: Video, clip: str, factor: float) -> Video:
    height, width = (round(side * factor) // 2 * 2 for side in luma(video[0]).shape)
    frames = (av.VideoFrame.from_ndarray(frame, format="yuv420p") for frame in video)
    return recoded([f.reformat(width, height).to_ndarray() for f in frames], clip, **X264)


def cropped(video: Video, clip: str, **options: str) -> Video:
    x, y, width, height = CLIPS[clip]
    made = []
    for frame in video:
        rgb = av.VideoFrame.from_ndarray(frame, format="yuv420p").to_ndarray(format="rgb24")
        part = np.ascontiguousarray(rgb[y : y + height, x : x + width])
        made.append(av.VideoFrame.from_ndarray(part, format="rgb24").reformat(format="yuv420p"))
    return recoded([frame.to_ndarray() for frame in made], clip, **(options or X264))


X264 = {"preset": "veryfast", "crf": "23"}
DELIVERED = {"preset": "veryfast", "crf": "18"}
ATTACKS: dict[str, Attack] = {
    "none": lambda video, clip: video,
    "H.264 crf 28": partial(recoded, preset="medium", crf="28"),
    "scaled 50 %, crf 23": partial(scaled, factor=0.5),
    "scaled 75 %, crf 23": partial(scaled, factor=0.75),
    "scaled 125 %, crf 23": partial(scaled, factor=1.25),
    "scaled 150 %, crf 23": partial(scaled, factor=1.5),
    "crop to the face, crf 18": partial(cropped, preset="veryfast", crf="18"),
    "crop to the face, crf 23": cropped,
    "crop to the face, crf 28": partial(cropped, preset="medium", crf="28"),
    "VP9 crf 36": partial(
        recoded, codec="libvpx-vp9", crf="36", b="0", deadline="realtime", **{"cpu-used": "7"}
    ),
    "AV1 crf 38": partial(recoded, codec="libsvtav1", crf="38", preset="10"),
    "MPEG-4 q 6": partial(recoded, codec="mpeg4", flags="+qscale", global_quality=str(6 * 118)),
}
SHOTS = {"png": ".png", "jpeg q70": ".jpg"}
SHOWN = ("none", "H.264 crf 28", "crop to the face, crf 18")  # of which screenshots are taken


def screenshot(frame: I420, kind: str) -> NDArray[np.uint8]:
    bgr = av.VideoFrame.from_ndarray(frame, format="yuv420p").to_ndarray(format="bgr24")
    _, data = cv2.imencode(kind, bgr, [cv2.IMWRITE_JPEG_QUALITY, 70] if kind == ".jpg" else [])
    return np.asarray(cv2.imdecode(data, cv2.IMREAD_GRAYSCALE), np.uint8)


def look(pictures: list[NDArray[np.uint8]]) -> Detection | None:
    return detect(np.mean([flatten(each) for each in pictures], 0, dtype=np.float32), KEY)


@dataclass(frozen=True)
class Row:
    """An attack on all clips.

    Args:
        tried, found: videos or screenshots; wrong: with another id than theirs.
        score: median, standard deviations; bit_accuracy: median of coded bits. Of those found.
    """

    tried: int
    found: int
    wrong: int
    score: float | None
    bit_accuracy: float | None

    @classmethod
    def of(cls, all_found: list[Detection | None]) -> Row:
        found = [each for each in all_found if each]
        right = [each for each in found if each.mark_id == MARK]
        return cls(
            len(all_found), len(right), len(found) - len(right),
            round(statistics.median(each.score for each in right), 1) if right else None,
            round(statistics.median(each.bit_accuracy for each in right), 3) if right else None,
        )  # fmt: skip


def attacks(data: Path) -> dict[str, object]:
    found: dict[str, list[Detection | None]] = {}
    for clip in CLIPS:
        delivered = recoded(marked(read(data / f"{clip}.mp4", FRAMES, 50)), clip, **DELIVERED)
        for name, attack in ATTACKS.items():
            video = attack(delivered, clip)
            found.setdefault(f"{name}, video", []).append(look([luma(each) for each in video[::2]]))
            for kind, suffix in SHOTS.items() if name in SHOWN else ():
                shots = (screenshot(video[at], suffix) for at in SHOT_FRAMES)
                found.setdefault(f"{name}, {kind}", []).extend(look([shot]) for shot in shots)
            print(clip, name, found[f"{name}, video"][-1], flush=True)
    return {name: asdict(Row.of(each)) for name, each in found.items()}


def psnr(before: NDArray[np.uint8], after: NDArray[np.uint8]) -> float:
    return float(10 * np.log10(255**2 / ((after.astype(np.float64) - before) ** 2).mean()))


def rgb(frame: I420) -> NDArray[np.uint8]:
    return np.asarray(
        av.VideoFrame.from_ndarray(frame, format="yuv420p").to_ndarray(format="rgb24"), np.uint8
    )


def cost(data: Path) -> dict[str, object]:
    cv2.setNumThreads(1)
    result: dict[str, object] = {}
    for clip in CLIPS:
        video = read(data / f"{clip}.mp4", FRAMES, 50)
        after = marked(video)
        pairs = list(zip(video, after, strict=True))
        sizes = [encoded(each, clip, **DELIVERED)[1] for each in (video, after)]
        result[clip] = {
            "psnr_luma_least": round(min(psnr(luma(a), luma(b)) for a, b in pairs), 2),
            "psnr_rgb_least": round(min(psnr(rgb(a), rgb(b)) for a, b in pairs), 2),
            "bytes_more_percent": round(100 * (sizes[1] / sizes[0] - 1), 1),
        }
    for side in (512, 1080):
        frame = cv2.resize(luma(read(data / "anchor_71s_512.mp4", 1)[0]), (side, side))
        marker = Marker(MARK, KEY, side, side)
        result[f"mark_ms_per_frame_{side}"] = timed_ms(partial(marker.mark, frame), 200)
    flat = flatten(luma(read(data / "speech_20s_450.mp4", 1)[0]))
    result["search_ms_where_there_is_none"] = timed_ms(lambda: detect(flat, KEY), 3)
    return result


def timed_ms(work: Callable[[], object], times: int) -> float:
    """Median."""
    taken = []
    for _ in range(times):
        began_s = time.perf_counter()
        work()
        taken.append(1000 * (time.perf_counter() - began_s))
    return round(statistics.median(taken), 2)


def false_positives(data: Path) -> dict[str, object]:
    """Searches of real footage with keys that nobody has used: none of them may find anything."""
    paths = [data / f"{clip}.mp4" for clip in CLIPS]
    paths += sorted((data / "grid_s1").glob("*.mpg"))[:12]
    searches = found = 0
    scores: list[float] = []
    for number, path in enumerate(paths):
        video = read(path, FRAMES, 25)
        looks = [np.mean([flatten(luma(each)) for each in video[::4]], 0, dtype=np.float32)]
        looks += [flatten(luma(video[at])) for at in SHOT_FRAMES]
        for flat in looks:
            for key in (b"unused key 1", b"unused key 2"):
                searches += 1
                hit = detect(flat, key)
                if hit:
                    found += 1
                    scores.append(hit.score)
        print(f"{number + 1} of {len(paths)} clips, {searches} searches, {found} found", flush=True)
    return {
        "searches": searches,
        "found": found,
        "at_most_by_this_sample_95_percent": round(3 / searches, 4) if not found else None,
        "at_most_by_the_check_a_search": CANDIDATES * 2.0**-CHECK_BITS,
    }


PARTS = {"attacks": attacks, "cost": cost, "false-positives": false_positives}


def main() -> None:
    """Measure a part and write it beside the others."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("part", choices=PARTS)
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data" / "video")
    arguments = parser.parse_args()
    measured = PARTS[arguments.part](arguments.data)
    summary = json.loads(RESULT.read_text()) if RESULT.exists() else {}
    summary[arguments.part.replace("-", "_")] = measured
    summary["machine"] = asdict(describe_machine())
    RESULT.write_text(json.dumps(summary, indent=2) + "\n")
    print(json.dumps(measured, indent=2))


if __name__ == "__main__":
    main()
