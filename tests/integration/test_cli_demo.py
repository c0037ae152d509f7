"""The whole path by the command line, as `make demo` walks it: real processes, the real samples."""

from __future__ import annotations

import dataclasses
import json
import re
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from tiny import CONFIG, SECONDS, TinySubject, cut_video

from synctalk.avatar import Avatar, Scene
from synctalk.dataset import QUALITY, SubjectDataset
from synctalk.dubbing import dubbed_frames
from synctalk.errors import BundleError, Cancelled, TrainingError
from synctalk.face_sync import INNER_LIP, LAYOUT, OUTER_LIP
from synctalk.gaussians.densify import DensifyConfig
from synctalk.media import VideoReader, Yuv420, probe, read_audio, rgb_to_yuv, write_wav
from synctalk.progress import ProgressEvent
from synctalk.render.torso import lay_neck
from synctalk.training import train
from synctalk.training.checkpoint import STATE, working_folder
from synctalk.training.trainer import BAKE_BOUND_PX, Trainer

SAMPLES = Path(__file__).parents[2] / "samples"
SPEECH_S = 5
LATE_S = 0.24


def command(*arguments: str | Path) -> list[str]:
    return [sys.executable, "-m", "synctalk", *map(str, arguments)]


def result_of(*arguments: str | Path) -> dict[str, Any]:
    done = subprocess.run(
        command(*arguments, "--json"), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    assert answer["ok"]
    result: dict[str, Any] = answer["result"]
    return result


@dataclass(frozen=True)
class Demo:
    out: Path
    speech: Path
    result: dict[str, Any]
    progress: str


def late(video: Path, out: Path) -> Path:
    """A copy whose sound comes ``LATE_S`` after the lips."""
    with av.open(str(video)) as read, av.open(str(out), "w") as write:
        picture, sound = read.streams.video[0], read.streams.audio[0]
        pictures = write.add_stream_from_template(picture)
        sounds = write.add_stream_from_template(sound)
        for packet in read.demux(picture, sound):
            if packet.dts is None or packet.pts is None or packet.time_base is None:
                continue  # the end of a stream
            if packet.stream is sound:
                packet.pts += round(LATE_S / packet.time_base)
                packet.dts += round(LATE_S / packet.time_base)
            packet.stream = sounds if packet.stream is sound else pictures
            write.mux(packet)
    return out


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Demo:
    folder = tmp_path_factory.mktemp("demo")
    out, speech = folder / "out", folder / "speech.wav"
    write_wav(speech, read_audio(SAMPLES / "speech.wav", 16_000)[: SPEECH_S * 16_000])
    cut_video(SAMPLES / "portrait.mp4", folder / "portrait.mp4", SECONDS)
    video = late(folder / "portrait.mp4", folder / "late.mp4")
    ours = ("--video", video, "--audio", speech)
    done = subprocess.run(
        command("demo", *ours, "--out", out, "--steps", "400", "--json"),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return Demo(out, speech, json.loads(done.stdout)["result"], done.stderr)


def test_sound_that_was_late_is_in_step_with_the_lips(
    demo: Demo, tiny_subject: TinySubject
) -> None:
    dataset = SubjectDataset.open(demo.out / "dataset")
    (said,) = [
        verdict["message"]
        for verdict in json.loads((dataset.path / QUALITY).read_text())["verdicts"]
        if verdict["name"] == "lip_audio_offset"
    ]
    assert "late" in said
    assert "moved" in said
    heard, meant = dataset.audio(), SubjectDataset.open(tiny_subject.dataset).audio()
    inside = slice(16_000, 10 * 16_000)
    lags = range(-1_600, 1_601, 4)
    likeness = [float(heard[inside] @ np.roll(meant, lag)[inside]) for lag in lags]
    assert abs(lags[int(np.argmax(likeness))]) < 0.035 * 16_000


def test_the_dub_is_as_long_as_the_speech_and_carries_it(demo: Demo) -> None:
    info = probe(demo.out / "dubbed.mp4")
    assert info.video is not None
    assert (info.video.width, info.video.height, info.video.fps) == (512, 512, 25)
    assert info.video.n_frames == 25 * SPEECH_S
    spoken = read_audio(demo.speech, 16_000)
    heard = read_audio(demo.out / "dubbed.mp4", 16_000)
    n = min(len(spoken), len(heard))
    assert abs(len(spoken) - len(heard)) < 1600
    assert np.corrcoef(spoken[:n], heard[:n])[0, 1] > 0.95


def test_the_dub_shows_the_subject_with_a_moving_mouth(demo: Demo) -> None:
    dubbed = [f.astype(np.float32) for f in VideoReader(demo.out / "dubbed.mp4").iter_rgb(0, 100)]
    source = next(VideoReader(demo.out / "avatar" / "source.mp4").iter_rgb(0, 1)).astype(np.float32)
    psnr = 10 * np.log10(255**2 / np.mean((dubbed[0] - source) ** 2))
    assert psnr > 25  # the same person in the same room
    mouth = np.std([frame[285:345, 220:310].mean(-1) for frame in dubbed], axis=0)
    corner = np.std([frame[:60, :60].mean(-1) for frame in dubbed], axis=0)
    assert mouth.mean() > 3 * corner.mean()


def test_the_report_has_the_promised_figures(demo: Demo) -> None:
    page = (demo.out / "report" / "index.html").read_text()
    figures = json.loads((demo.out / "report" / "report.json").read_text())
    assert "<video" in page
    assert figures["psnr"] > 30
    assert figures["psnr_head"] > 26
    assert 0.9 < figures["ms_ssim"] <= 1
    assert figures["lmd"] < 4
    assert figures["psnr_mouth"] > 20
    assert set(figures["timings"]) >= {"preprocess_s", "train_s", "frame_ms"}
    assert (demo.out / "report" / "contact_sheet.png").stat().st_size > 10_000


def test_the_demo_says_how_long_each_stage_took(demo: Demo) -> None:
    assert list(demo.result["timings_s"]) == ["preprocess", "train", "dub", "evaluate"]


def test_progress_shows_stages_and_the_held_out_psnr(demo: Demo) -> None:
    for words in ("track", "train", "dub", "it/s", "held-out PSNR"):
        assert words in demo.progress


def test_video_samples_and_rgb_show_the_same_frames(demo: Demo) -> None:
    avatar = Avatar.load(demo.out / "avatar", "cpu")
    driving = avatar.source[slice(10, 20)]
    reader = VideoReader(demo.out / "avatar" / "plates.mp4")
    pictures = list(avatar.render_yuv(driving, reader.iter_yuv(10, 20)))
    frames = list(avatar.render(driving, reader.iter_rgb(10, 20)))
    for picture, frame in zip(pictures, frames, strict=True):
        difference = np.abs(picture.y.astype(int) - rgb_to_yuv(frame).y)
        assert difference.mean() < 0.5
        assert np.quantile(difference, 0.999) <= 2


def test_a_frame_does_not_depend_on_its_neighbours(demo: Demo) -> None:
    avatar = Avatar.load(demo.out / "avatar", "cpu")
    reader = VideoReader(demo.out / "avatar" / "plates.mp4")
    run = list(avatar.render_yuv(avatar.source[slice(0, 11)], reader.iter_yuv(0, 11)))
    alone = list(avatar.render_yuv(avatar.source[slice(7, 9)], reader.iter_yuv(7, 9)))
    for together, by_itself in zip(run[7:9], alone, strict=True):
        assert np.abs(together.y.astype(int) - by_itself.y).max() <= 1


@pytest.mark.parametrize("wide_open", [False, True])
def test_a_portrait_is_the_whole_head_blended_in_though_only_the_face_is_rendered(
    demo: Demo, wide_open: bool
) -> None:
    avatar = Avatar.load(demo.out / "avatar", "cpu")
    bundle, first, n = avatar.bundle.path, 20, 6
    order = np.arange(first, first + n)
    own = avatar.source[order]
    lip = avatar.source.lip[[avatar.mouth_opening_mm(avatar.source.lip).argmin()]].repeat(n, 0)
    driving = own if wide_open else dataclasses.replace(own, lip=lip)
    necks = list(avatar.necks(order, driving.lip))

    def decoded(name: str) -> list[Yuv420]:
        return list(VideoReader(bundle / name).iter_yuv(first, first + n))

    plates, again = decoded("plates.mp4"), decoded("plates.mp4")
    for plate, other, neck in zip(plates, again, necks, strict=True):
        if neck is not None:
            lay_neck(plate, neck)
            lay_neck(other, neck)
    whole = decoded("source.mp4")
    for index, source, crop, neck in zip(
        order, whole, avatar.render_yuv(driving, plates), necks, strict=True
    ):
        avatar.blend_into(source, crop, avatar.source_mesh[index], neck)
    scenes = map(Scene, order.tolist(), decoded("source.mp4"), again, necks)
    for ours, wanted in zip(avatar.render_portraits(driving, scenes), whole, strict=True):
        for plane, expected in zip(ours, wanted, strict=True):
            difference = np.abs(plane.astype(int) - expected)
            assert difference.max() <= 1
            assert difference.mean() < 0.001


def test_the_torso_is_restored_under_a_closing_jaw_and_nowhere_else(demo: Demo) -> None:
    avatar = Avatar.load(demo.out / "avatar", "cpu")
    opening = avatar.mouth_opening_mm(avatar.source.lip)
    wide = int(opening[4:-4].argmax()) + 4
    order = np.arange(wide - 1, wide + 2)
    own = avatar.source[order]
    shut = dataclasses.replace(own, lip=avatar.source.lip[[opening.argmin()]].repeat(3, 0))
    for portrait in (False, True):
        for driving in (own, shut):
            plain, restored = (
                dubbed_frames(avatar, driving, order, None, portrait=portrait, torso=on)
                for on in (False, True)
            )
            for index, before, after in zip(order, plain, restored, strict=True):
                rows, columns = np.nonzero(np.abs(before.y.astype(int) - after.y) > 3)
                assert (len(rows) > 50) == (driving is shut)
                if driving is shut:
                    face = avatar.source_mesh[index, :, 0]
                    assert rows.min() > avatar.source_mesh[index, 13, 1]
                    assert face.min() - 20 < columns.min() < columns.max() < face.max() + 20


def test_too_few_plates_are_an_error(demo: Demo) -> None:
    avatar = Avatar.load(demo.out / "avatar", "cpu")
    plates = VideoReader(demo.out / "avatar" / "plates.mp4").iter_yuv(0, 3)
    with pytest.raises(ValueError, match="3 plates for 5 frames"):
        list(avatar.render_yuv(avatar.source[slice(0, 5)], plates))


def test_a_triplane_ships_baked_when_little_is_lost(
    tiny_subject: TinySubject, tmp_path: Path
) -> None:
    config = dataclasses.replace(
        CONFIG, deformation="triplane", steps=40, evaluate_every=40, torso_steps=0
    )
    bundle = train(tiny_subject.dataset, tmp_path / "avatar", config=config)
    assert bundle.manifest.metrics["baking_error_px"] < BAKE_BOUND_PX
    assert "deformation.directions" in bundle.tensors()
    avatar = Avatar.load(tmp_path / "avatar", "cpu")
    plates = VideoReader(tmp_path / "avatar" / "plates.mp4").iter_rgb(0, 2)
    assert len(list(avatar.render(avatar.source[slice(0, 2)], plates))) == 2


def test_inspect_tells_dataset_and_avatar_apart(demo: Demo) -> None:
    dataset = result_of("inspect", demo.out / "dataset")
    assert dataset["kind"] == "dataset"
    assert dataset["facts"]["n_frames"] == 300
    assert dataset["facts"]["held_out_frames"] == 27
    avatar = result_of("inspect", demo.out / "avatar")
    assert avatar["kind"] == "avatar"
    assert avatar["facts"]["preset"] == "demo"


def test_a_tracked_mouth_unlike_all_that_were_filmed_is_drawn_in(tiny_subject: TinySubject) -> None:
    dataset, avatar = SubjectDataset.open(tiny_subject.dataset), Avatar.load(tiny_subject.avatar)
    mesh, asked = dataset.tracks.mesh.copy(), dataset.held_out_range.start
    lips = sorted({*OUTER_LIP, *INNER_LIP})
    mesh[asked, lips, :2] += np.random.default_rng(0).normal(0, 8, (len(lips), 2))
    tracks = dataclasses.replace(dataset.tracks, mesh=mesh)
    seen = (torch.from_numpy(part) for part in (mesh, tracks.R, tracks.t, tracks.K))
    plain, driven = avatar.space.lip(*seen).numpy(), avatar.driving_from_tracks(tracks).lip
    filmed = np.linalg.norm(plain[:asked], axis=1).max()
    assert np.linalg.norm(driven[asked]) < 1.2 * filmed < np.linalg.norm(plain[asked])
    learnt = (driven[:asked] == plain[:asked]).all(1)
    assert learnt.mean() > 0.9


def stopped_while_training(*arguments: str | Path, after: int = 0) -> str:
    """What a training says that gets Ctrl-C once it checked held-out frames ``after`` that step."""
    process = subprocess.Popen(command(*arguments), stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    shown = []
    for line in process.stderr:
        shown.append(line)
        step = re.match(r"train +(\d+)/", line)
        if step and int(step[1]) > after and "held-out PSNR" in line:
            process.send_signal(signal.SIGINT)
            break
    shown += list(process.stderr)
    assert process.wait() == 130, "".join(shown)
    return "".join(shown)


def test_ctrl_c_while_training_leaves_a_state_that_resume_takes_up(
    tiny_subject: TinySubject, tmp_path: Path
) -> None:
    out = tmp_path / "avatar"
    arguments = ("train", tiny_subject.dataset, "--out", out, "--preset", "demo", "--steps", "300")
    said = stopped_while_training(*arguments)
    assert "--resume" in said
    assert "Traceback" not in said
    assert not out.exists()
    before = state_of(out)
    stopped_while_training(*arguments, "--resume", after=before["step"])
    after = state_of(out)
    assert after["step"] > before["step"] > 0
    # those before the interruption are there, once
    checks = [point["step"] for point in after["curve"]]
    assert checks == sorted(set(checks))
    assert after["curve"][: len(before["curve"])] == before["curve"]


def state_of(avatar: Path) -> dict[str, Any]:
    """Where the unfinished training of ``avatar`` stands."""
    state: dict[str, Any] = json.loads((working_folder(avatar) / STATE).read_text())
    return state


def test_a_dub_of_what_is_not_sound_writes_nothing(demo: Demo, tmp_path: Path) -> None:
    silence = tmp_path / "notes.wav"
    silence.write_text("no sound")
    done = subprocess.run(
        command("dub", demo.out / "avatar", silence, "--out", tmp_path / "out.mp4"),
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 3
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "out.mp4").exists()


SHORT = dataclasses.replace(
    CONFIG, n_gaussians=3000, steps=40, torso_steps=0, densify=DensifyConfig(max_growth=1.25)
)


def test_what_several_sessions_want_at_once_is_what_each_would_get_alone(
    tiny_subject: TinySubject,
) -> None:
    avatar = Avatar.load(tiny_subject.avatar, "cpu")
    parts = [avatar.source[slice(first, first + n)] for first, n in ((0, 1), (40, 3), (100, 2))]
    for part, together in zip(parts, avatar._heads_of(parts), strict=True):
        alone = avatar.heads(part)
        np.testing.assert_array_equal(together.corners, alone.corners)
        torch.testing.assert_close(together.rgb, alone.rgb, rtol=0, atol=2e-3)
        torch.testing.assert_close(together.alpha, alone.alpha, rtol=0, atol=2e-3)
        assert alone.alpha.amax() > 0.9


def test_lips_that_know_another_encoder_are_refused(tiny_subject: TinySubject) -> None:
    avatar = Avatar.load(tiny_subject.avatar, "cpu")
    rows = np.zeros((10, LAYOUT.dim), np.float32)
    assert len(avatar.lips_from_audio(rows)) == 10
    older = dataclasses.replace(avatar.manifest, encoder="")
    avatar.bundle = dataclasses.replace(avatar.bundle, manifest=older)
    with pytest.raises(BundleError, match="earlier release") as error:
        avatar.lips_from_audio(rows)
    assert error.value.reason == "BUNDLE_ENCODER"


def test_a_resumed_training_gives_the_bits_of_an_unbroken_one(
    tiny_subject: TinySubject, tmp_path: Path
) -> None:
    def weights_after(step: int, out: Path, *, resume: bool = False) -> dict[str, torch.Tensor]:
        """What training stopped at ``step`` leaves; later stages begin with it and the seed."""

        def stop(event: ProgressEvent) -> None:
            if event.stage == "train" and event.done >= step:
                raise Cancelled("enough")

        with pytest.raises(Cancelled):
            train(tiny_subject.dataset, out, config=SHORT, resume=resume, progress=stop)
        assert not out.exists()
        state = state_of(out)
        assert step <= state["step"] <= SHORT.steps
        return load_file(working_folder(out) / state["weights"])

    unbroken = weights_after(SHORT.steps, tmp_path / "a")
    weights_after(25, tmp_path / "b")
    assert state_of(tmp_path / "b")["step"] < SHORT.steps
    resumed = weights_after(SHORT.steps, tmp_path / "b", resume=True)
    assert unbroken.keys() == resumed.keys()
    assert [name for name in unbroken if not torch.equal(unbroken[name], resumed[name])] == []
    splats = len(unbroken["model.base"])
    assert 3000 / 1.25 < splats <= 3000  # stage 1 added some


def test_a_loss_that_is_not_finite_is_rolled_back_and_at_last_given_up(
    tiny_subject: TinySubject,
) -> None:
    dataset = SubjectDataset.open(tiny_subject.dataset)
    trainer = Trainer(dataset, SHORT, torch.device("cpu"), lambda event: None)
    start = trainer.checkpoint()
    clean = {name: tensor.clone() for name, tensor in start.tensors.items()}
    with torch.no_grad():
        trainer.model.base.fill_(float("nan"))
    poisoned = trainer.checkpoint()
    trainer.resume(dataclasses.replace(start, tensors=clean))
    assert torch.isfinite(trainer.model.base).all()
    trainer.resume(poisoned)
    with pytest.raises(TrainingError, match="roll-backs") as error:
        trainer.run(lambda checkpoint: None)
    assert error.value.reason == "LOSS_NOT_FINITE"
