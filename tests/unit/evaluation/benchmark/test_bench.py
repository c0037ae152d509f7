"""A whole benchmark of a small real dataset: an avatar of known errors, a peer, and the page."""

from __future__ import annotations

import csv
import json
import re
import shutil
from collections.abc import Iterator
from dataclasses import replace
from html import escape
from pathlib import Path

import numpy as np
import pytest
from playwright.sync_api import Page, sync_playwright

from synctalk.benchmark import BenchReport, Plan, bench
from synctalk.benchmark.plan import Method, Sound, Subject
from synctalk.benchmark.workshop import Workshop
from synctalk.dataset import SubjectDataset
from synctalk.errors import Cancelled, InputError
from synctalk.evaluation.quality.actions import LOWER, UPPER
from synctalk.media import VideoPreset, VideoWriter, write_wav
from synctalk.progress import ProgressEvent

from ..conftest import NOISE, NoisyAvatar
from ..test_protocol import expected_psnr

CHROMIUM = Path("/usr/bin/chromium")


class Noisy(NoisyAvatar):
    """As wrong as its sound says; under a foreign one its frames come in any order."""

    def render(self, driving, plates):  # type: ignore[no-untyped-def]
        frames = list(self._dataset.frames(250))
        for (index, sigma), _ in zip(driving.lip, plates, strict=False):
            noise = np.random.default_rng(int(index)).normal(0, sigma, frames[0].shape)
            shown = frames[int(index) % len(frames)]
            yield np.clip(np.round(shown + noise), 0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def plan(subject: SubjectDataset, tmp_path_factory: pytest.TempPathFactory) -> Plan:
    folder = tmp_path_factory.mktemp("peers")
    with VideoWriter(folder / "peer.mp4", 256, 256, preset=VideoPreset.NEAR_LOSSLESS) as writer:
        for frame in subject.frames(250):
            writer.write(frame)
    write_wav(folder / "sound.wav", np.sin(np.arange(32_000) / 20).astype(np.float32))
    (folder / "avatar").mkdir()
    shutil.copy(subject.path / "manifest.json", folder / "avatar")
    avatar = {"Ann": folder / "avatar"}
    return Plan(
        "Small",
        (Subject("Ann", dataset=subject.path),),
        (
            Method("ours", "avatar", paths=avatar),
            Method("still", "mean-mouth", of="ours"),
            Method("peer", "import", paths={"Ann": folder / "peer.mp4"}),
            Method("broken", "import", paths={"Ann": folder / "sound.wav"}),
        ),
        (Sound("hum", folder / "sound.wav", "Audio A", seconds=1.2),),
        ("reconstruction", "speed", "cross-audio"),
        metrics=("psnr", "psnr_mouth", "ms_ssim", "lmd", "lpips_alex", "pose_jitter"),
    )


@pytest.fixture(scope="module", autouse=True)
def _avatar_of_known_errors(subject: SubjectDataset) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Workshop, "avatar", lambda *_: Noisy(subject))
        yield


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("bench") / "out"


@pytest.fixture(scope="module")
def made(plan: Plan, out: Path) -> BenchReport:
    return bench(plan, out)


def figure(made: BenchReport, method: str, metric: str, output: str = "plain") -> float:
    cell = next(r for r in made.results if r.method == method and not r.sound)
    value = cell.figure(metric, output)
    assert value is not None
    return value


def test_known_errors_give_known_figures(made: BenchReport) -> None:
    assert figure(made, "ours", "psnr") == pytest.approx(expected_psnr(NOISE["audio"]), abs=0.15)
    blended = figure(made, "ours", "psnr", "blended")
    assert blended - figure(made, "ours", "psnr") == pytest.approx(3.01, abs=0.1)
    assert figure(made, "source", "psnr") == 100
    assert figure(made, "peer", "psnr") > 38


def test_one_that_fails_is_noted_and_does_not_stop_the_others(made: BenchReport) -> None:
    (failed,) = made.failed
    assert failed.method == "broken"
    assert failed.failure is not None
    assert failed.failure.reason == "NO_VIDEO"
    assert failed.failure.remedy


def test_nothing_is_compared_with_the_source_under_a_foreign_sound(made: BenchReport) -> None:
    cell = next(r for r in made.results if r.method == "ours" and r.sound)
    assert "psnr" not in cell.outputs["blended"].figures
    assert cell.n_frames == 30


def test_a_metric_that_is_absent_says_how_to_get_it(made: BenchReport) -> None:
    cell = next(r for r in made.results if r.method == "ours" and not r.sound)
    assert "lpips_alex" not in cell.outputs["plain"].figures
    remedy = cell.outputs["plain"].absent["lpips_alex"]["remedy"]
    assert remedy
    assert escape(remedy) in made.page.read_text()


def test_openfaces_tables_are_scored_and_a_missing_one_is_named(plan: Plan, tmp_path: Path) -> None:
    dataset = plan.subjects[0].dataset
    assert dataset is not None
    n = len(SubjectDataset.open(dataset).held_out_range)
    for name, level in (("theirs", 1.0), ("ours", 3.0)):
        lines = [",".join(f"{unit}_r" for unit in (*UPPER, *LOWER))]
        lines += [",".join([str(level)] * len((*UPPER, *LOWER)))] * n
        (tmp_path / f"{name}.csv").write_text("\n".join(lines) + "\n")
    subject = replace(plan.subjects[0], openface=tmp_path / "theirs.csv")
    peer = replace(plan.method("peer"), openface={"Ann": tmp_path / "ours.csv"})
    told = replace(
        plan, subjects=(subject,), methods=(peer,), protocols=("reconstruction",), metrics=("aue",)
    )
    made = bench(told, tmp_path / "out")
    assert figure(made, "peer", "aue") == pytest.approx(2.0 * len((*UPPER, *LOWER)))
    lost = replace(peer, openface={"Ann": tmp_path / "lost.csv"})
    with pytest.raises(InputError, match=r"lost\.csv") as caught:
        bench(replace(told, methods=(lost,)), tmp_path / "out")
    assert caught.value.reason == "FILE_MISSING"


def test_the_worst_frames_are_apart_and_sorted(made: BenchReport) -> None:
    cell = next(r for r in made.results if r.method == "ours" and not r.sound)
    values = [bad.psnr for bad in cell.worst]
    assert values == sorted(values)
    assert min(np.diff(sorted(bad.frame for bad in cell.worst))) >= 10
    series = cell.outputs["plain"].series["psnr"]
    assert values[0] == pytest.approx(min(v for v in series if v is not None), abs=1e-3)


def test_json_and_csv_hold_figures_and_no_picture(made: BenchReport) -> None:
    figures = json.loads((made.path / "bench.json").read_text())
    assert figures["title"] == "Small"
    assert figures["machine"]["cores"] >= 1
    assert figures["missing"] == []
    assert len(figures["cells"]) == len(made.results)
    with (made.path / "bench.csv").open() as file:
        rows = list(csv.DictReader(file))
    (row,) = [
        r for r in rows
        if (r["method"], r["sound"], r["output"], r["metric"]) == ("ours", "", "plain", "psnr")
    ]  # fmt: skip
    assert float(row["value"]) == pytest.approx(figure(made, "ours", "psnr"), abs=1e-3)
    assert (row["unit"], row["better"]) == ("dB", "higher")
    assert "base64" not in (made.path / "bench.json").read_text()


def test_a_second_run_measures_only_what_changed(
    made: BenchReport, plan: Plan, out: Path, tmp_path: Path
) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(out, copy)
    cells = sorted(copy.glob("cells/**/result.json"))
    before = {path: path.stat().st_mtime_ns for path in cells}
    shorter = replace(plan, sounds=(replace(plan.sounds[0], seconds=1.0),))
    again = bench(shorter, copy)
    assert again.reused == 5  # source, ours, still, peer under their own sound; rates of ours
    changed = {p.parent.name for p in cells if p.stat().st_mtime_ns != before[p]}
    assert changed == {
        "broken-seed0",  # what failed is tried again
        "hum-ours-seed0",
        "hum-source-seed0",
        "hum-still-seed0",
    }


def test_what_was_measured_before_ctrl_c_is_kept(plan: Plan, tmp_path: Path) -> None:
    def stop(event: ProgressEvent) -> None:
        if event.stage == "bench" and event.done == 2:
            raise Cancelled("Stopped.")

    with pytest.raises(Cancelled):
        bench(plan, tmp_path, progress=stop)
    assert len(list(tmp_path.glob("cells/**/result.json"))) == 2
    assert not list(tmp_path.glob("cells/**/*.writing"))
    figures = json.loads((tmp_path / "bench.json").read_text())
    assert [cell["method"] for cell in figures["cells"]] == ["source", "ours"]
    assert len(figures["missing"]) == 7
    assert "7 of 9 cells" in (tmp_path / "index.html").read_text()


def test_a_part_is_measured_alone_and_the_page_shows_all_that_there_is(
    plan: Plan, tmp_path: Path
) -> None:
    first = bench(plan, tmp_path, part=plan.narrowed(protocols=("speed",)))
    assert [(r.protocol, r.method) for r in first.results] == [("speed", "ours")]
    assert len(first.missing) == 8
    then = bench(plan, tmp_path, part=plan.narrowed(methods=("peer",), protocols=("cross-audio",)))
    assert {(r.protocol, r.method) for r in then.results} == {
        ("speed", "ours"), ("cross-audio", "source"),
    }  # fmt: skip
    assert then.reused == 1


def test_frame_rates_are_measured_by_themselves(made: BenchReport) -> None:
    (rates,) = [r for r in made.results if r.protocol == "speed"]
    assert not rates.outputs
    assert (rates.figure("fps_one_stream") or 0) > 0
    assert (rates.figure("latency_ms") or 0) > 0
    assert "Frame rates, each avatar by itself" in made.page.read_text()


def test_two_benchmarks_do_not_work_in_one_folder(plan: Plan, tmp_path: Path) -> None:
    def second(event: ProgressEvent) -> None:
        bench(plan, tmp_path)

    with pytest.raises(InputError, match="another benchmark"):
        bench(plan, tmp_path, progress=second)


# -- the page ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def page(made: BenchReport) -> Iterator[Page]:
    if not CHROMIUM.exists():
        pytest.skip(f"no browser at {CHROMIUM}; on Debian: apt-get install chromium")
    arguments = ["--no-sandbox", "--autoplay-policy=no-user-gesture-required"]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=arguments)
        shown = browser.new_page(viewport={"width": 1280, "height": 900})
        wrong: list[str] = []
        shown.on("console", lambda m: wrong.append(m.text) if m.type == "error" else None)
        shown.on("pageerror", lambda error: wrong.append(str(error)))
        shown.on("request", lambda r: wrong.append(r.url) if r.url.startswith("http") else None)
        shown.goto(made.page.as_uri())
        yield shown
        browser.close()
        assert wrong == []


def test_the_page_stands_alone(made: BenchReport) -> None:
    text = made.page.read_text()
    assert not re.search(r'(src|href)="(?!data:|#)', text)
    assert "Not to be passed on" in text
    assert "Table I. " in text
    assert text.count("<video") == 7


def test_videos_play_in_step(page: Page) -> None:
    theatre = page.locator("#theatre-ann")
    theatre.scroll_into_view_if_needed()
    ready = "t => [...t.querySelectorAll('video')].every((v) => v.readyState >= 2)"
    page.wait_for_function(ready, arg=theatre.element_handle())
    theatre.get_by_role("button", name="Loop").click()
    theatre.get_by_role("button", name="Play").click()
    page.wait_for_function("() => document.querySelector('#theatre-ann video').currentTime > 0.3")
    theatre.get_by_role("button", name="Pause").click()
    times = theatre.evaluate(
        "t => [...t.querySelectorAll('figure:not([hidden]) video')].map((v) => v.currentTime)"
    )
    assert len(times) == 3
    assert max(times) - min(times) < 0.2


def test_frames_are_stepped_through_together(page: Page) -> None:
    theatre = page.locator("#theatre-ann")
    theatre.locator("input[type=range]").fill("20")  # far from where the videos stand
    theatre.locator("input[type=range]").fill("10")
    theatre.get_by_role("button", name="One frame on").click()
    page.wait_for_function(
        "() => [...document.querySelectorAll('#theatre-ann video')]"
        ".every((v) => !v.seeking && Math.floor(v.currentTime * 25) === 11)"
    )
    assert "frame 261" in theatre.locator("output").inner_text()


def test_a_method_is_hidden_and_shown_by_its_button(page: Page) -> None:
    theatre = page.locator("#theatre-ann")
    chip = theatre.locator("[data-chip]", has_text="peer")
    figure = theatre.locator("figure", has_text="peer")
    before = figure.is_visible()
    chip.click()
    assert figure.is_visible() is not before
    assert chip.get_attribute("aria-pressed") == str(not before).lower()
    chip.click()


def test_a_worst_frame_is_found_in_the_videos(page: Page, made: BenchReport) -> None:
    cell = next(r for r in made.results if r.method == "ours" and not r.sound)
    page.locator(f"[data-goto='theatre-ann@{cell.worst[0].frame}']").first.click()
    wanted = cell.worst[0].frame - cell.first_frame
    page.wait_for_function(
        "n => [...document.querySelectorAll('#theatre-ann video')]"
        ".every((v) => !v.seeking && Math.floor(v.currentTime * 25) === n)",
        arg=wanted,
    )


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [400, 1280])
def test_the_page_fits_and_can_be_read(page: Page, scheme: str, width: int) -> None:
    page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
    page.set_viewport_size({"width": width, "height": 900})
    wide = "document.scrollingElement.scrollWidth - document.documentElement.clientWidth"
    assert page.evaluate(wide) <= 0
    contrast = Path(__file__).parents[3] / "e2e" / "studio_contrast.js"
    assert page.evaluate(contrast.read_text()) == []


def test_what_another_machine_measured_is_not_measured_again(
    made: BenchReport, plan: Plan, tmp_path: Path
) -> None:
    theirs = tmp_path / "theirs.json"
    figures = json.loads((made.path / "bench.json").read_text())
    figures["cells"] = [cell for cell in figures["cells"] if cell["protocol"] == "reconstruction"]
    theirs.write_text(json.dumps(figures))
    part = plan.narrowed((), ("still",), ("cross-audio",))
    again = bench(plan, tmp_path / "out", part=part, measured=[theirs])
    assert {cell.protocol for cell in again.results} == {"reconstruction", "cross-audio"}
    assert figure(again, "ours", "psnr") == pytest.approx(figure(made, "ours", "psnr"), abs=1e-6)
    assert not (tmp_path / "out" / "cells" / "reconstruction").exists()
    assert again.missing == ("reconstruction · Ann · broken", "speed · Ann · ours")  # one failed
    louder = replace(plan, metrics=plan.metrics[:2])
    assert not bench(louder, tmp_path / "other", part=part, measured=[theirs]).reused


def test_figures_of_something_else_are_refused(plan: Plan, tmp_path: Path) -> None:
    (tmp_path / "plan.json").write_text("[]")
    with pytest.raises(InputError, match=r"plan\.json: no figures of a benchmark"):
        bench(plan, tmp_path / "out", measured=[tmp_path / "plan.json"])
