"""The four frame rates of an avatar on a device, and how many sessions it carries.

One-stream latency: one frame from coefficients to video samples on the host, alone. One-stream fps:
a stream, as services render it. Batched fps: frames of many streams by one call of the rasteriser.
End to end: a dub, from sound to signed MP4. Sessions: as many streams as get a frame each within
the 40 ms that a frame lasts, drawn and laid over their plates; without encoding, which is work of
other cores.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path

import numpy as np
import torch

import synctalk
from synctalk.avatar import Avatar, Driving
from synctalk.bundle import BUNDLE_PLATES
from synctalk.dataset import SAMPLE_RATE_HZ, SubjectDataset
from synctalk.dubbing import play_order
from synctalk.media import Yuv420, write_wav
from synctalk.media.ordered import ordered_frames
from synctalk.render.compositing import composite_yuv

FRAME_MS = 40.0
BATCHES = (1, 2, 4, 8, 16, 32, 64)


class Stream:
    """Frames of one avatar's footage in memory, to be rendered again and again."""

    def __init__(self, avatar: Avatar, n: int) -> None:
        order = play_order(avatar.manifest.played, n)
        self.avatar = avatar
        self.driving: Driving = avatar.source[order]
        plates = ordered_frames(avatar.bundle.path / BUNDLE_PLATES, order)
        self._plates = list(islice(plates, n))

    def plates(self, start: int = 0, stop: int | None = None) -> list[Yuv420]:
        """Writable copies."""
        return [Yuv420(*(p.copy() for p in plate)) for plate in self._plates[start:stop]]


def measure(avatar: Avatar, dataset: SubjectDataset, work: Path, quick: bool) -> dict[str, object]:
    """All rates of ``avatar``; ``quick`` measures too little to be worth reading."""
    n, repeats = (6, 2) if quick else (100, 20)
    stream = Stream(avatar, n)
    window, size = avatar.manifest.window, avatar.manifest.size
    splats = avatar.deform(stream.driving[slice(0, 1)]).shape[1]
    batches = BATCHES[:2] if quick else BATCHES
    return {
        "frame": {"size_px": size, "window_px": list(window), "gaussians": splats},
        "one_stream_latency_ms": latency(stream),
        "one_stream_fps": one_stream(stream),
        "batched": [batched(stream, b, repeats) for b in batches],
        "end_to_end_fps": end_to_end(avatar, dataset, work, 1.0 if quick else 20.0),
        "sessions": sessions(stream, batches, repeats),
    }


def latency(stream: Stream) -> dict[str, float]:
    plates, times = stream.plates(), []
    for i, plate in enumerate(plates):
        one = stream.driving[slice(i, i + 1)]
        times.append(_ms(lambda one=one, plate=plate: list(stream.avatar.render_yuv(one, [plate]))))
    settled = times[len(times) // 5 :]  # the first pay for set-up
    return {
        name: round(float(np.quantile(settled, q)), 3) for name, q in (("p50", 0.5), ("p95", 0.95))
    }


def one_stream(stream: Stream) -> float:
    plates = stream.plates()
    ms = _ms(lambda: list(stream.avatar.render_yuv(stream.driving, plates)))
    return round(1000 * len(plates) / ms, 1)


def batched(stream: Stream, size: int, repeats: int) -> dict[str, float]:
    """Frames a second by batches of ``size``, left on the device and fetched to the host."""
    driving = _spread(stream, size)

    def left() -> None:
        stream.avatar.heads(driving)
        _wait(stream.avatar)

    def fetched() -> None:
        heads = stream.avatar.heads(driving)
        heads.rgb.cpu(), heads.alpha.cpu()

    left()
    rates = {
        name: round(
            1000 * size * repeats / _ms(lambda work=work: [work() for _ in range(repeats)]), 1
        )
        for name, work in (("fps", left), ("fps_fetched", fetched))
    }
    return {"batch": size, **rates}


def end_to_end(avatar: Avatar, dataset: SubjectDataset, work: Path, seconds: float) -> float:
    """Frames a second of a dub with its own sound, portrait blending and encoding included."""
    sound = work / "gpu_speech.wav"
    write_wav(sound, dataset.audio()[: int(seconds * SAMPLE_RATE_HZ)])
    dub = synctalk.dub(
        avatar.bundle.path, sound, work / "gpu_dub.mp4", expression="source",
        device=avatar.device.type,
    )  # fmt: skip
    return round(dub.fps, 1)


def sessions(stream: Stream, batches: tuple[int, ...], repeats: int) -> dict[str, object]:
    """Most streams of one avatar that all get their frame in time, rendered in two ways."""
    ticks = [{"streams": b, "p95_ms": _tick(stream, b, repeats)} for b in batches]
    threads = [{"streams": b, "fps_each": _side_by_side(stream, b)} for b in batches]
    return {
        "batched": max((t["streams"] for t in ticks if t["p95_ms"] <= FRAME_MS), default=0),
        "in_threads": max((t["streams"] for t in threads if t["fps_each"] >= 25), default=0),
        "batched_ticks": ticks,
        "threads": threads,
    }


def _tick(stream: Stream, n: int, repeats: int) -> float:
    """Milliseconds, 95 %, in which ``n`` streams get a frame each from one call."""
    driving, avatar = _spread(stream, n), stream.avatar
    plates = [Yuv420(*(p.copy() for p in stream.plates(0, 1)[0])) for _ in range(n)]

    def tick() -> None:
        heads = avatar.heads(driving)
        rgb, alpha = heads.rgb.cpu(), heads.alpha.cpu()
        for each in zip(rgb, alpha, plates, heads.corners, strict=True):
            composite_yuv(*each)

    tick()
    return round(float(np.quantile([_ms(tick) for _ in range(repeats)], 0.95)), 2)


def _side_by_side(stream: Stream, n: int) -> float:
    """Frames a second of each of ``n`` streams, every one rendered by itself in a thread."""
    plates = [stream.plates() for _ in range(n)]

    def render(mine: list[Yuv420]) -> int:
        return len(list(stream.avatar.render_yuv(stream.driving, mine)))

    with ThreadPoolExecutor(n) as pool:
        ms = _ms(lambda: list(pool.map(render, plates)))
    return round(1000 * len(stream.driving) / ms, 1)


def _spread(stream: Stream, n: int) -> Driving:
    return stream.driving[np.linspace(0, len(stream.driving) - 1, n).round().astype(np.int64)]


def _wait(avatar: Avatar) -> None:
    if avatar.device.type == "cuda":
        torch.cuda.synchronize()


def _ms(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return 1000 * (time.perf_counter() - start)
