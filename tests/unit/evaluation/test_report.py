from __future__ import annotations

import dataclasses
import json
import re
from html import escape
from html.parser import HTMLParser
from pathlib import Path

import cv2
import numpy as np
import pytest

from synctalk import avatar as avatar_module
from synctalk import face
from synctalk.dataset import SubjectDataset
from synctalk.errors import BundleError, InputError
from synctalk.evaluation import contact_sheet, evaluate
from synctalk.evaluation.page import page, verdict
from synctalk.evaluation.paper import NOT_MEASURED
from synctalk.evaluation.protocol import measure_reconstruction
from synctalk.evaluation.report import figures, write_report
from synctalk.evaluation.result import Drive, EvaluationResult, FrameScores, correlation, mean

from .conftest import NoisyAvatar, OneByOne

IMAGE_METRICS = ("psnr", "psnr_head", "psnr_mouth", "ssim", "ssim_mouth", "ms_ssim")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("report")


@pytest.fixture(scope="module")
def result(avatar: NoisyAvatar, subject: SubjectDataset, folder: Path) -> EvaluationResult:
    found = measure_reconstruction(avatar, subject, folder, tracker=OneByOne())
    write_report(found, folder)
    return found


class Links(HTMLParser):
    """Every address a page refers to, and every tag."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.addresses: list[str] = []
        self.tags: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.addresses += [v for k, v in attrs if k in ("src", "href", "poster") and v]


def test_the_page_needs_nothing_but_the_files_beside_it(
    result: EvaluationResult, folder: Path
) -> None:
    text = (folder / "index.html").read_text(encoding="utf-8")
    links = Links(text)
    beside = [a for a in links.addresses if not a.startswith("data:")]
    assert set(beside) == {
        "source_and_tracked.mp4", "source_and_audio.mp4", "contact_sheet.png", "worst_frames.png",
    }  # fmt: skip
    assert all((folder / name).stat().st_size > 0 for name in beside)
    assert "script" not in links.tags
    assert "link" not in links.tags
    assert not re.search(r"https?://|url\(", text)


def test_the_page_escapes_names_and_shows_every_plot(
    result: EvaluationResult, folder: Path
) -> None:
    text = (folder / "index.html").read_text(encoding="utf-8")
    assert "virtual &lt;A&gt;" in text
    assert "virtual <A>" not in text
    assert Links(text).tags.count("svg") == 5
    assert text.count("needs weights") >= 8  # the paper's columns that are not ours
    assert all(escape(why) in text for why in NOT_MEASURED.values())
    assert "36.38" in text  # the paper's row
    assert not re.search(r"\bnan\b", re.sub(r"data:[^\"]*", "", text))  # no face: a dash instead


def test_report_json_has_the_promised_keys(result: EvaluationResult, folder: Path) -> None:
    report = json.loads((folder / "report.json").read_text())
    for drive in (report, report["audio_driven"]):
        for name in IMAGE_METRICS:
            assert name in drive
            assert f"{name}_portrait" in drive
        assert drive["lmd"] is None  # this tracker finds no face, and null says so
        assert drive["lmd_frames"] == 0
        assert drive["lip_gap_correlation"] is None
    assert report["psnr"] == pytest.approx(mean(result.tracked.plain.psnr), abs=1e-4)
    assert report["audio_driven"]["psnr"] == pytest.approx(mean(result.audio.plain.psnr), abs=1e-4)
    assert report["timings"]["train_s"] == {"canonical": 20.0, "joint": 70.0}
    assert report["protocol"]["n_frames"] == 25
    assert report["machine"]["cores"] >= 1
    assert report["not_measured"] == NOT_MEASURED


def test_pictures_have_a_row_for_each_thing_shown(result: EvaluationResult, folder: Path) -> None:
    sheet = cv2.imread(str(folder / "contact_sheet.png"))
    worst = cv2.imread(str(folder / "worst_frames.png"))
    assert sheet.shape[1] > 10 * 192
    assert sheet.shape[0] > 5 * 192
    assert worst.shape[1] > 6 * 192


def test_correlation_counts_frames_that_both_have() -> None:
    a = np.array([1.0, 2, 3, np.nan, 5])
    assert correlation(a, -2 * a) == pytest.approx(-1)
    assert correlation(a, np.array([1.0, 2, 3, 90, np.nan])) == pytest.approx(1)
    assert np.isnan(correlation(a, np.ones(5)))
    assert np.isnan(correlation(a[:1], a[:1]))


def with_psnr(result: EvaluationResult, audio_db: float) -> EvaluationResult:
    def at(scores: FrameScores) -> FrameScores:
        return dataclasses.replace(scores, psnr=np.full(25, audio_db))

    def drive(old: Drive) -> Drive:
        return dataclasses.replace(old, plain=at(old.plain))

    return dataclasses.replace(result, audio=drive(result.audio))


def test_the_verdict_says_on_which_side_of_the_paper_it_is(result: EvaluationResult) -> None:
    assert "2.4 dB below the paper's 36.4" in verdict(with_psnr(result, 34.0))
    assert "1.6 dB above the paper's 36.4" in verdict(with_psnr(result, 38.0))
    assert "at 36.4 dB, the paper's 36.4" in verdict(with_psnr(result, 36.38))


def test_an_avatar_without_a_training_curve_has_a_page(result: EvaluationResult) -> None:
    bare = dataclasses.replace(result, curve=())
    assert "no training curve" in page(bare, "a.png", "b.png")


def test_figures_are_plain_json(result: EvaluationResult) -> None:
    assert json.loads(json.dumps(figures(result), allow_nan=False)) == figures(result)


def test_a_contact_sheet_places_every_frame() -> None:
    red = np.full((40, 40, 3), (255, 0, 0), np.uint8)
    blue = np.full((40, 40, 3), (0, 0, 255), np.uint8)
    sheet = contact_sheet([[red, blue], [blue, red]], ["first", "second"], ["0 s", "1 s"], cell=20)
    reds, blues = ((sheet == colour).all(2) for colour in ((255, 0, 0), (0, 0, 255)))
    assert reds.sum() == blues.sum() == 2 * 400
    rows, columns = np.nonzero(reds)
    assert rows[np.argmin(columns)] < rows[np.argmax(columns)]  # red is first above, second below


@pytest.fixture
def loaded(
    avatar: NoisyAvatar, subject: SubjectDataset, monkeypatch: pytest.MonkeyPatch
) -> SubjectDataset:
    """``evaluate`` with the noisy avatar in place of a trained one."""
    monkeypatch.setattr(avatar_module.Avatar, "load", lambda path, device: avatar)
    monkeypatch.setattr(face, "make_tracker", lambda name, device: OneByOne())
    return subject


def test_evaluate_publishes_a_whole_folder(loaded: SubjectDataset, tmp_path: Path) -> None:
    out = tmp_path / "report"
    out.mkdir()
    report = evaluate("avatar", loaded.path, out)
    assert report.page.is_file()
    assert report.figures["psnr"] > 30
    assert sorted(p.name for p in tmp_path.iterdir()) == ["report"]
    assert {p.name for p in out.iterdir()} == {
        "index.html", "report.json", "contact_sheet.png", "worst_frames.png",
        "source_and_tracked.mp4", "source_and_audio.mp4",
    }  # fmt: skip


def test_a_folder_of_other_things_is_refused_before_any_work(tmp_path: Path) -> None:
    (tmp_path / "letters.txt").write_text("mine")
    with pytest.raises(InputError) as refused:
        evaluate("no avatar", "no dataset", tmp_path)
    assert refused.value.reason == "OUTPUT_EXISTS"
    assert (tmp_path / "letters.txt").read_text() == "mine"


def test_a_failed_evaluation_leaves_the_older_report(
    loaded: SubjectDataset, avatar: NoisyAvatar, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "report"
    out.mkdir()
    (out / "report.json").write_text("{}")
    other = NoisyAvatar(loaded)
    other.manifest = dataclasses.replace(avatar.manifest, source_sha256="cd" * 32)
    monkeypatch.setattr(avatar_module.Avatar, "load", lambda path, device: other)
    with pytest.raises(BundleError):
        evaluate("avatar", loaded.path, out)
    assert [p.name for p in tmp_path.iterdir()] == ["report"]
    assert (out / "report.json").read_text() == "{}"
