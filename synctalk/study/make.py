"""Write the page of a study and its key."""

from __future__ import annotations

import html
import json
import os
import random
import secrets
import shutil
import tempfile
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path

from synctalk.errors import InputError
from synctalk.study.plan import ASPECTS, KEY_FILE, PAGE_FOLDER, Clip, Study, StudyKind

SUFFIXES = (".mp4", ".webm")
_NAME_BYTES = 5


def make_study(
    folders: Sequence[Path], out: Path, *, kind: StudyKind = "mos", title: str = "Talking heads"
) -> Study:
    """Write ``out/page``, which participants get, and ``out/key.json``, which they do not.

    Args:
        folders: one of each method, named like it; files of one name show the same item.
        out: a folder that does not exist yet; it appears whole.
        kind: marks from 1 to 5 for each clip, or the better of two.
        title: at the head of the page.

    Raises:
        InputError: no clips, clips that other methods lack, one method where pairs are asked for,
            or ``out`` exists.
    """
    if out.exists():
        raise InputError(
            f"{out} exists.", reason="OUT_EXISTS", remedy="Choose another folder for the study."
        )
    videos = _videos(folders)
    if kind == "pairs" and len(folders) < 2:
        raise InputError("One method cannot be compared.", reason="BAD_STUDY", remedy=_LAYOUT)
    clips = [
        (Clip(secrets.token_hex(_NAME_BYTES), folder.resolve().name, video.stem), video)
        for folder in folders
        for video in videos[folder]
    ]
    random.SystemRandom().shuffle(clips)  # neither the key's order nor the files' tells a method
    study = Study(secrets.token_hex(8), kind, title, tuple(clip for clip, _ in clips))
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=f".{out.name}.") as scratch:
        whole = Path(scratch) / "study"
        media = whole / PAGE_FOLDER / "clips"
        media.mkdir(parents=True)
        for clip, video in clips:
            _copy(video, media / _file(clip, video))
        names = {clip.name: f"clips/{_file(clip, video)}" for clip, video in clips}
        (whole / PAGE_FOLDER / "index.html").write_text(page(study, names), encoding="utf-8")
        (whole / KEY_FILE).write_text(study.to_json(), encoding="utf-8")
        os.replace(whole, out)
    return study


_LAYOUT = (
    "Give a folder of each method with the same file names in each, e.g. ours/a.mp4 theirs/a.mp4."
)


def _videos(folders: Sequence[Path]) -> dict[Path, list[Path]]:
    found = {}
    for folder in folders:
        if not folder.is_dir():
            raise InputError(f"{folder} is no folder.", reason="BAD_STUDY", remedy=_LAYOUT)
        found[folder] = sorted(f for f in folder.iterdir() if f.suffix.lower() in SUFFIXES)
    names = [folder.resolve().name for folder in folders]
    if len(set(names)) < len(names):
        raise InputError("Two methods have one name.", reason="BAD_STUDY", remedy=_LAYOUT)
    items = {folder: [f.stem for f in own] for folder, own in found.items()}
    every = sorted({item for own in items.values() for item in own})
    for folder, own in items.items():
        if own != every or not every:
            lacking = ", ".join(sorted(set(every) - set(own))) or "any clip, or has one twice"
            raise InputError(f"{folder} lacks {lacking}.", reason="BAD_STUDY", remedy=_LAYOUT)
    return found


def _file(clip: Clip, video: Path) -> str:
    return clip.name + video.suffix.lower()


def _copy(video: Path, to: Path) -> None:
    """The bytes, with no file time that would tell the methods apart."""
    with video.open("rb") as source, to.open("wb") as target:
        shutil.copyfileobj(source, target)


def page(study: Study, names: dict[str, str]) -> str:
    """The page: one file of HTML that loads nothing but the clips.

    Args:
        names: address of every clip's file, by the clip's name.
    """
    plan = {
        "study": study.study,
        "kind": study.kind,
        "aspects": ASPECTS,
        "trials": [list(trial) for trial in study.trials],
        "files": names,
    }
    text = files("synctalk.study").joinpath("page.html").read_text(encoding="utf-8")
    # "</" would end the script element that holds the plan
    data = json.dumps(plan, ensure_ascii=False).replace("</", "<\\/")
    return text.replace("{{title}}", html.escape(study.title)).replace("{{plan}}", data)
