"""What a study asks about which clips; its key stays with who runs it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from itertools import combinations
from pathlib import Path
from typing import Literal

from synctalk.errors import InputError

StudyKind = Literal["mos", "pairs"]

ASPECTS: Mapping[str, str] = {
    "lip_sync": "Lip-sync accuracy: do the lips move as the words demand?",
    "expression_sync": "Expression-sync accuracy: do eyes, brows and face go with the speech?",
    "pose_sync": "Pose-sync accuracy: does the head move steadily and as one with the body?",
    "image_quality": "Image quality: is the picture sharp and free of flaws?",
    "video_realness": "Video realness: could it be a recording of a person?",
}
"""The five aspects of the paper's questionnaire, with our wording of each question."""
LOWEST, HIGHEST = 1, 5
CHOICES = ("first", "same", "second")
KEY_FILE = "key.json"
PAGE_FOLDER = "page"


@dataclass(frozen=True)
class Clip:
    """A video of the study.

    Args:
        name: what participants' files call it; says nothing about its method.
        method: who made it.
        item: what it shows; every method has one clip of every item.
    """

    name: str
    method: str
    item: str


@dataclass(frozen=True)
class Study:
    """The key to a study's answers.

    Args:
        study: its identity, in every participant's file.
        kind: ``mos``: each clip gets a mark from 1 to 5 in each aspect. ``pairs``: of two clips of
            one item the better is named, or neither.
        title: at the head of the page.
        clips: all of them.
    """

    study: str
    kind: StudyKind
    title: str
    clips: tuple[Clip, ...]

    @property
    def methods(self) -> tuple[str, ...]:
        """In alphabetical order."""
        return tuple(sorted({clip.method for clip in self.clips}))

    @property
    def trials(self) -> tuple[tuple[str, ...], ...]:
        """Names of the clips shown together: one, or two of one item."""
        if self.kind == "mos":
            return tuple((clip.name,) for clip in self.clips)
        return tuple((a.name, b.name) for a, b in combinations(self.clips, 2) if a.item == b.item)

    def to_json(self) -> str:
        """For :meth:`read`."""
        return json.dumps(asdict(self), indent=1, ensure_ascii=False) + "\n"

    @classmethod
    def read(cls, path: Path) -> Study:
        """The key that ``make_study`` wrote.

        Raises:
            InputError: it is not there, or is something else.
        """
        try:
            given = json.loads(path.read_text(encoding="utf-8"))
            clips = tuple(Clip(**clip) for clip in given.pop("clips"))
            return cls(clips=clips, **given)
        except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
            raise InputError(
                f"{path} is not the key of a study: {error}.",
                reason="BAD_STUDY_KEY",
                remedy="Name the key.json that `synctalk study make` wrote.",
            ) from error
