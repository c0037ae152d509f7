"""One cell: show the scene, score it, film it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from itertools import repeat
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from synctalk.avatar import Avatar
from synctalk.benchmark.actors import Actor, AvatarActor, SourceActor, mel_regressor
from synctalk.benchmark.cells import Cell, openface_tables, video_key
from synctalk.benchmark.effort import Stopwatch
from synctalk.benchmark.film import Film, WorstFrames
from synctalk.benchmark.imported import ImportedActor
from synctalk.benchmark.plan import Method, Plan
from synctalk.benchmark.result import CellResult, Scored, Value, Worst
from synctalk.benchmark.scene import Scene, foreign_scene, own_scene
from synctalk.benchmark.speed import measure_speed
from synctalk.benchmark.workshop import Workshop
from synctalk.dataset import FPS, SubjectDataset
from synctalk.errors import BundleError
from synctalk.evaluation.landmarks import head_mask, mouth_mask
from synctalk.evaluation.machine import describe_machine
from synctalk.evaluation.quality import METRICS, OpenFacePair, QualityModels, VideoScorer
from synctalk.evaluation.quality.recorded import cost_per_minute
from synctalk.face.tracking import FaceTrack, FaceTracker
from synctalk.progress import ProgressCallback, StageProgress

if TYPE_CHECKING:
    from synctalk.evaluation.protocol import TalkingHead

KEPT_SERIES = ("psnr", "psnr_mouth", "lmd", "lpips_alex")
BLENDED = ("psnr", "psnr_head", "psnr_mouth", "ssim", "ms_ssim", "fid", "lpips_alex", "lpips_vgg")
"""Of the blended output under own sound, as in the paper's Table II; its mouth is the plain one's,
so what needs a tracker is measured once."""
VIDEO = "video.mp4"

Mask = NDArray[np.bool_]


class Stage:
    """What the cells of a benchmark share: trackers, and the source tracks of scenes."""

    def __init__(
        self,
        workshop: Workshop,
        tracker: FaceTracker,
        plan: Plan,
        progress: ProgressCallback,
    ) -> None:
        self.workshop, self.tracker, self.progress = workshop, tracker, progress
        self.sounds = {sound.name: sound for sound in plan.sounds}
        self.price_per_hour = plan.price_per_hour
        self.models = QualityModels(plan.weights)
        self.metrics = plan.metrics or tuple(n for n, m in METRICS.items() if m.kind == "video")
        self._tracks: dict[tuple[str, bytes], FaceTrack] = {}
        self._own: dict[Path, Scene] = {}

    def own_scene(self, dataset: SubjectDataset) -> Scene:
        """See :func:`synctalk.benchmark.scene.own_scene`; each footage is heard once."""
        if dataset.path not in self._own:
            self._own[dataset.path] = own_scene(dataset)
        return self._own[dataset.path]

    def source_track(self, scene: Scene) -> FaceTrack:
        """The face in the frames of the footage under a scene."""
        key = (scene.dataset.manifest.source_sha256, scene.order.tobytes())
        if key not in self._tracks:
            watched = StageProgress(self.progress, "track source", len(scene))
            frames = watched.wrap(scene.frames())
            self._tracks[key] = self.tracker.track(frames, cuts=scene.cuts)
        return self._tracks[key]


def measure(cell: Cell, key: str, stage: Stage, folder: Path) -> CellResult:
    """Run a cell whose avatar, if it has one, is there.

    Args:
        cell: what to measure.
        key: digest of what it rests on.
        stage: shared with other cells.
        folder: gets the video and the pictures.

    Raises:
        SyncTalkError: whatever the method raises.
    """
    watch = Stopwatch()
    data = stage.workshop.dataset(cell.subject, cell.method)
    head = _head(cell, stage.workshop)
    actor = _actor(cell, head, stage)
    scene = stage.own_scene(data) if cell.sound is None else foreign_scene(data, cell.sound)
    outputs, worst = _scored(cell, actor, scene, stage, folder)
    result = replace(
        record(cell, key, stage, head),
        outputs=outputs,
        points=_points(actor, scene, cell, stage),
        n_frames=len(scene),
        first_frame=int(scene.order[0]),
        worst=worst,
        video=VIDEO,
    )
    return dated(result, watch)


def measure_rates(cell: Cell, key: str, stage: Stage, folder: Path) -> CellResult:
    """Frame rates of an avatar, and nothing else; see :func:`measure`."""
    watch = Stopwatch()
    head = _head(cell, stage.workshop)
    assert head is not None
    result = record(cell, key, stage, head)
    run = {**result.run, **measure_speed(head, stage.workshop.dataset(cell.subject, cell.method))}
    fps = run["fps_end_to_end"]
    if stage.price_per_hour is not None and fps:
        run["cost_per_minute"] = round(cost_per_minute(stage.price_per_hour, fps), 6)
    return dated(replace(result, run=run), watch)


def dated(result: CellResult, watch: Stopwatch) -> CellResult:
    """``result`` with when it was measured, how long that took, and how busy others were."""
    done = watch.read()
    return replace(
        result,
        others_cores=done.others_cores,
        made_at=datetime.now(UTC).isoformat(timespec="seconds"),
        wall_s=round(done.wall_s, 2),
    )


def _head(cell: Cell, workshop: Workshop) -> TalkingHead | None:
    if cell.method.kind in ("source", "import"):
        return None
    head = workshop.avatar(cell.subject, cell.method, cell.seed)
    data = workshop.dataset(cell.subject, cell.method)
    if head.manifest.source_sha256 != data.manifest.source_sha256:
        raise BundleError(
            f"{cell.name}: the avatar was not trained on this footage.",
            reason="AVATAR_OF_OTHER_FOOTAGE",
            remedy="Name an avatar of this subject in the plan.",
        )
    return head


def _actor(cell: Cell, head: TalkingHead | None, stage: Stage) -> Actor:
    method = cell.method
    if method.kind == "import":
        return ImportedActor(method.paths[video_key(cell.subject, cell.sound)])
    if head is None:
        return SourceActor()
    regressor = None
    if "audio-visual-encoder" in method.without and isinstance(head, Avatar):
        regressor = mel_regressor(head, stage.workshop.dataset(cell.subject, method))
    return AvatarActor(
        head,
        method.lips,
        regressor,
        torso="torso-restorer" not in method.without,
        generated="expression-generator" not in method.without,
        seed=cell.seed,
    )


def record(cell: Cell, key: str, stage: Stage, head: TalkingHead | None) -> CellResult:
    """What is known of a cell before it is measured."""
    data = stage.workshop.dataset(cell.subject, cell.method)
    run: dict[str, Value] = {}
    curve: tuple[tuple[float, float, float], ...] = ()
    if head is not None:
        facts = head.manifest
        run["train_s"] = facts.timings_s.get("train")
        for name in ("steps", "n_gaussians", "size"):
            value = facts.settings.get(name)
            run["trained_" + name] = float(value) if isinstance(value, (int, float)) else None
        effort = stage.workshop.effort(cell.subject, cell.method, cell.seed)
        if effort is not None:
            run["train_cpu_s"], run["train_others_cores"] = effort.cpu_s, effort.others_cores
        curve = tuple((p.seconds, float(p.step), p.psnr_db) for p in facts.training_curve)
    usable = data.tracks.valid[: data.held_out_range.start]
    run["footage_s"] = float(usable.sum()) / FPS
    return CellResult(
        digest=key,
        protocol=cell.protocol,
        subject=cell.subject.name,
        method=cell.method.name,
        kind=kind_of(cell.method),
        sound=cell.sound.name if cell.sound else "",
        role=cell.sound.role if cell.sound else "",
        seed=cell.seed,
        without=cell.method.without,
        base=cell.method.base,
        public=cell.subject.public,
        run=run,
        curve=curve,
        side=data.manifest.size,
        machine=describe_machine().as_dict(),
    )


def kind_of(method: Method) -> str:
    """What a method is for tables: its kind, ``"mean-mouth"``, or ``"oracle"``."""
    return {"mean": "mean-mouth", "tracked": "oracle"}.get(method.lips, method.kind)


def _scored(
    cell: Cell, actor: Actor, scene: Scene, stage: Stage, folder: Path
) -> tuple[dict[str, Scored], tuple[Worst, ...]]:
    """Every frame shown once: scored, filmed, and kept if it is among the worst."""
    worst = WorstFrames(folder)
    watched = StageProgress(stage.progress, f"score {cell.name}", len(scene))
    size = scene.dataset.manifest.size
    film = Film(folder / VIDEO, size, scene.wav)
    with film, open_scorers(actor, scene, stage, openface_tables(cell)) as scorers:
        streams = zip(watched.wrap(actor.show(scene)), _masks(scene), strict=False)
        for i, (shown, (head, mouth)) in enumerate(streams):
            for name, scorer in scorers.items():
                picture = shown.plain if name == "plain" else shown.blended
                assert picture is not None
                scorer.add(shown.source, picture, head=head, mouth=mouth)
            seen = shown.plain if shown.plain is not None and scene.own else shown.blended
            assert seen is not None
            film.add(seen)
            if scene.own and cell.method.kind != "source":
                worst.add(int(scene.order[i]), seen, shown.source)
        outputs = {name: Scored.of(s.result(), KEPT_SERIES) for name, s in scorers.items()}
    return outputs, worst.written()


@contextmanager
def open_scorers(
    actor: Actor, scene: Scene, stage: Stage, openface: OpenFacePair | None = None
) -> Iterator[dict[str, VideoScorer]]:
    """By output. Under a foreign sound nothing is true, so nothing is compared but the person."""
    wanted = list(stage.metrics)
    if not scene.own:
        wanted = [n for n in wanted if "reference" not in METRICS[n].needs or n == "identity"]
    with ExitStack() as stack:
        main = VideoScorer(
            metrics=wanted,
            models=stage.models,
            source=stage.source_track(scene),
            tracker=stage.tracker,
            audio=scene.wav,
            openface=openface,
            cuts=scene.cuts,
        )
        scorers = {"plain" if scene.own else "blended": stack.enter_context(main)}
        if scene.own and isinstance(actor, AvatarActor):
            compared = [n for n in BLENDED if n in stage.metrics]
            second = VideoScorer(metrics=compared, models=stage.models, cuts=scene.cuts)
            scorers["blended"] = stack.enter_context(second)
        yield scorers


def _masks(scene: Scene) -> Iterator[tuple[Mask | None, Mask | None]]:
    """Head and mouth of every frame; under a foreign sound there are none."""
    if not scene.own:
        yield from repeat((None, None), len(scene))
        return
    size = scene.dataset.manifest.size
    points = scene.dataset.tracks.landmarks68[scene.order]
    for matte, face in zip(scene.mattes(), points, strict=False):
        yield head_mask(matte), mouth_mask(face, size, size)


def _points(actor: Actor, scene: Scene, cell: Cell, stage: Stage) -> dict[str, tuple[Value, ...]]:
    """How the mouth opens under a foreign sound, beside the truth or the sound without noise."""
    sound = cell.sound
    opening = None if sound is None else actor.opening_mm(scene)
    if sound is None or opening is None:
        return {}
    points: dict[str, tuple[Value, ...]] = {
        "opening_mm": tuple(round(float(v), 2) for v in opening)
    }
    if sound.truth is not None:
        with np.load(sound.truth, allow_pickle=False) as truth:
            first = round(sound.from_s * FPS)
            gap = truth["lip_gap_mm"][first : first + len(opening)]
        points["opening_r_truth"] = (_correlation(opening, gap),)
    if sound.clean:
        clean = stage.sounds[sound.clean]
        quiet = actor.opening_mm(foreign_scene(scene.dataset, clean))
        if quiet is not None:
            points["opening_r_clean"] = (_correlation(opening, quiet),)
    return points


def _correlation(a: NDArray[np.floating], b: NDArray[np.floating]) -> Value:
    n = min(len(a), len(b))
    if n < 2 or np.ptp(a[:n]) == 0 or np.ptp(b[:n]) == 0:
        return None
    return round(float(np.corrcoef(a[:n], b[:n])[0, 1]), 4)
