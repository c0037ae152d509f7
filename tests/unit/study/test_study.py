"""Making a study and scoring what comes back."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from synctalk.errors import InputError
from synctalk.study import ASPECTS, Study, make_study, score_study
from synctalk.study.plan import StudyKind


def clips(root: Path, *methods: str, items: tuple[str, ...] = ("a", "b")) -> list[Path]:
    folders = [root / method for method in methods]
    for folder in folders:
        folder.mkdir(parents=True)
        for item in items:
            (folder / f"{item}.mp4").write_bytes(f"{folder.name} {item}".encode())
    return folders


def answered(
    path: Path, study: Study, mark: dict[str, object], person: str, *, turned: bool = False
) -> Path:
    """A participant's file: for marks by method; for pairs the better method."""
    method = {clip.name: clip.method for clip in study.clips}
    rows: list[dict[str, object]] = []
    for trial in study.trials:
        shown = trial[::-1] if turned else trial
        for aspect in ASPECTS:
            if study.kind == "mos":
                answer: object = mark[method[trial[0]]]
            else:
                places = [method[name] for name in shown]
                better = mark.get("better")
                answer = ("first", "second")[places.index(str(better))] if better else "same"
            rows.append({"clips": list(shown), "aspect": aspect, "answer": answer})
    path.write_text(json.dumps({"study": study.study, "participant": person, "answers": rows}))
    return path


def made(tmp_path: Path, kind: StudyKind = "mos") -> Study:
    return make_study(clips(tmp_path, "ours", "theirs"), tmp_path / "study", kind=kind)


def test_nothing_that_participants_get_names_a_method(tmp_path: Path) -> None:
    study = made(tmp_path)
    page = tmp_path / "study" / "page"
    everything = [page, *page.rglob("*")]
    assert len(list((page / "clips").iterdir())) == 4
    for path in everything:
        assert "ours" not in path.name
        assert "theirs" not in path.name
    text = (page / "index.html").read_text()
    assert "ours" not in text
    assert "theirs" not in text
    assert "{{" not in text
    assert Study.read(tmp_path / "study" / "key.json") == study
    for clip in study.clips:
        content = (page / "clips" / f"{clip.name}.mp4").read_text()
        assert content == f"{clip.method} {clip.item}"


def test_the_page_loads_nothing_from_elsewhere(tmp_path: Path) -> None:
    made(tmp_path)
    text = (tmp_path / "study" / "page" / "index.html").read_text()
    assert "http" not in text


def test_a_title_cannot_become_markup(tmp_path: Path) -> None:
    make_study(clips(tmp_path, "ours"), tmp_path / "study", title="<script>alert(1)</script>")
    text = (tmp_path / "study" / "page" / "index.html").read_text()
    assert "alert(1)</script>" not in text


def test_marks_are_averaged_by_method_and_aspect(tmp_path: Path) -> None:
    study = made(tmp_path)
    files = [
        answered(tmp_path / "p1.json", study, {"ours": 5, "theirs": 2}, "p1"),
        answered(tmp_path / "p2.json", study, {"ours": 4, "theirs": 2}, "p2"),
        answered(tmp_path / "p3.json", study, {"ours": 3, "theirs": 2}, "p3"),
    ]
    found = score_study(tmp_path / "study" / "key.json", files)
    assert found.n_participants == 3
    for aspect in ASPECTS:
        ours, theirs = found.estimates["ours"][aspect], found.estimates["theirs"][aspect]
        assert ours.mean == pytest.approx(4)
        assert 3 <= ours.low < 4 < ours.high <= 5
        assert (theirs.mean, theirs.low, theirs.high) == (2, 2, 2)
    assert found.alpha is not None


@pytest.mark.parametrize("turned", [False, True])
def test_a_win_counts_wherever_the_clip_stood(tmp_path: Path, turned: bool) -> None:
    study = made(tmp_path, "pairs")
    assert len(study.trials) == 2
    files = [
        answered(tmp_path / "1.json", study, {"better": "ours"}, "1", turned=turned),
        answered(tmp_path / "2.json", study, {"better": "theirs"}, "2"),
        answered(tmp_path / "3.json", study, {"better": "ours"}, "3", turned=not turned),
        answered(tmp_path / "4.json", study, {}, "4"),
    ]
    found = score_study(tmp_path / "study" / "key.json", files)
    for aspect in ASPECTS:
        assert found.estimates["ours"][aspect].mean == pytest.approx((1 + 0 + 1 + 0.5) / 4)
        assert found.estimates["theirs"][aspect].mean == pytest.approx(1.5 / 4)


def test_one_participant_has_means_but_no_alpha(tmp_path: Path) -> None:
    study = made(tmp_path)
    file = answered(tmp_path / "p.json", study, {"ours": 5, "theirs": 1}, "p")
    assert score_study(tmp_path / "study" / "key.json", [file]).alpha is None


def spoil(file: Path, change: str) -> None:
    given = json.loads(file.read_text())
    if change == "other":
        given["study"] = "0"
    elif change == "missing":
        given["answers"].pop()
    elif change == "twice":
        given["answers"].append(given["answers"][0])
    elif change == "mark":
        given["answers"][0]["answer"] = 6
    elif change == "clip":
        given["answers"][0]["clips"] = ["elsewhere"]
    else:
        given = [given]
    file.write_text(json.dumps(given))


@pytest.mark.parametrize("change", ["other", "missing", "twice", "mark", "clip", "list"])
def test_answers_that_are_not_whole_are_refused_by_name(tmp_path: Path, change: str) -> None:
    study = made(tmp_path)
    file = answered(tmp_path / "p.json", study, {"ours": 5, "theirs": 1}, "p")
    spoil(file, change)
    with pytest.raises(InputError, match=r"p\.json") as caught:
        score_study(tmp_path / "study" / "key.json", [file])
    assert caught.value.reason == "BAD_ANSWERS"


def test_a_file_that_is_given_twice_is_noticed(tmp_path: Path) -> None:
    study = made(tmp_path)
    files = [answered(tmp_path / name, study, {"ours": 5, "theirs": 1}, "p") for name in ("a", "b")]
    with pytest.raises(InputError) as caught:
        score_study(tmp_path / "study" / "key.json", files)
    assert caught.value.reason == "PARTICIPANT_TWICE"


def test_methods_with_other_clips_are_refused(tmp_path: Path) -> None:
    folders = clips(tmp_path, "ours", "theirs")
    (folders[1] / "b.mp4").unlink()
    with pytest.raises(InputError, match="theirs lacks b"):
        make_study(folders, tmp_path / "study")
    assert not (tmp_path / "study").exists()
    with pytest.raises(InputError, match="One method"):
        make_study(folders[:1], tmp_path / "study", kind="pairs")
    (tmp_path / "study").mkdir()
    with pytest.raises(InputError, match="exists"):
        make_study(folders[:1], tmp_path / "study")
