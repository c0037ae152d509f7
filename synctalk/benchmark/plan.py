"""What a benchmark is to run, as a TOML file says it.

::

    protocols = ["reconstruction", "cross-audio"]
    seeds = [0]

    [subjects.portrait]
    video = "samples/portrait.mp4"       # or clips = "grid/*.mpg", or dataset = "a.dataset"

    [sounds.english]
    file = "english_60s.wav"
    role = "Audio A"                     # Audio A and B: cross-audio; OOD: languages and noise
    seconds = 12

    [methods.ours]
    kind = "ours"
    preset = "standard"

Paths are relative to the file. See docs/benchmark.md for all of it.
"""

from __future__ import annotations

import dataclasses
import os
import tomllib
import types
import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeVar

from synctalk.benchmark.switches import SWITCHES, Table
from synctalk.errors import InputError
from synctalk.evaluation.quality import METRICS

Protocol = Literal[
    "reconstruction", "cross-audio", "ood", "ablation", "training-time", "clip-length", "long",
    "speed",
]  # fmt: skip
PROTOCOLS: tuple[Protocol, ...] = typing.get_args(Protocol)
Kind = Literal["ours", "avatar", "source", "mean-mouth", "synctalk", "import"]
KINDS: tuple[Kind, ...] = typing.get_args(Kind)
TABLES: tuple[Table, ...] = typing.get_args(Table)
ROLES = ("Audio A", "Audio B", "OOD", "long")
T = TypeVar("T")


@dataclass(frozen=True)
class Subject:
    """A person to make avatars of; one of ``video``, ``clips`` and ``dataset`` is given.

    Args:
        name: in tables.
        video: the footage.
        clips: a pattern of files that are joined, in the order of their names.
        dataset: a dataset that is already made.
        size: side of the crop, px.
        at_most_s: of the joined clips; None: all.
        public: whether pictures of the person may leave the machine. The page says when not.
        protocols: those of the plan that the subject takes part in; empty: all.
        openface: OpenFace's table (``-aus``) of the held-out source frames.
    """

    name: str
    video: Path | None = None
    clips: str = ""
    dataset: Path | None = None
    size: int = 512
    at_most_s: float | None = None
    public: bool = False
    protocols: tuple[Protocol, ...] = ()
    openface: Path | None = None


@dataclass(frozen=True)
class Sound:
    """Speech of somebody else.

    Args:
        name: in tables.
        file: audio, or a video with sound.
        role: ``"Audio A"`` and ``"Audio B"`` are the paper's Table III; ``"OOD"`` another language
            or noise; ``"long"`` is repeated to ten minutes.
        from_s, seconds: the part that is used.
        clean: name of the sound that this one is with noise; the lips of both are compared.
        subject: whom alone it is for; empty: everybody.
        truth: npz with ``lip_gap_mm``, what that subject's mouth really does to the sound.
    """

    name: str
    file: Path
    role: str
    from_s: float = 0.0
    seconds: float = 12.0
    clean: str = ""
    subject: str = ""
    truth: Path | None = None


@dataclass(frozen=True)
class Method:
    """What is put to the test.

    Args:
        name: in tables.
        kind: ``"ours"`` is trained with ``preset``; ``"avatar"`` takes one that is trained already
            (``paths``); ``"synctalk"`` is the predecessor's method; ``"source"`` the video as it
            is; ``"mean-mouth"`` the avatar of the method ``of`` with a still mouth; ``"import"``
            another system's video (``paths``).
        preset, steps: of training.
        without: names of ``switches.SWITCHES``: parts left out or replaced.
        lips: ``"audio"``; ``"tracked"``, an oracle for the audio; or ``"mean"``, which never move.
        of: the method whose avatar a mean mouth has.
        paths: by subject, or by ``SUBJECT/SOUND`` for sounds.
        size: side at which a baseline is trained, px; None: its own choice.
        footage_s: seconds of footage to learn from, the last ones before the held-out part.
        subjects: names of those that it is for; empty: all.
        protocols: those that it takes part in; empty: all. What is ablated or varied is named by
            the plan and needs none.
        base: the method that ``without`` leaves something out of, or that is varied.
        openface: OpenFace's tables of what it shows under the subjects' own sound, by subject.
    """

    name: str
    kind: Kind
    preset: str = "standard"
    steps: int | None = None
    without: tuple[str, ...] = ()
    lips: Literal["audio", "tracked", "mean"] = "audio"
    of: str = ""
    paths: Mapping[str, Path] = field(default_factory=dict)
    size: int | None = None
    footage_s: float | None = None
    subjects: tuple[str, ...] = ()
    protocols: tuple[Protocol, ...] = ()
    base: str = ""
    openface: Mapping[str, Path] = field(default_factory=dict)


@dataclass(frozen=True)
class Plan:
    """A whole benchmark.

    Args:
        title: of the page.
        lengths_s: training footage of ``clip-length``, beside all of it.
        budgets: training steps of ``training-time``.
        long_s: how long ``long`` talks.
        ablations: tables whose switches ``ablation`` tries.
        ablated: the method that the switches are tried on.
        varied: the method whose footage and steps ``clip-length`` and ``training-time`` vary.
        metrics: those that are measured; empty: all.
        weights: folder of the metrics' networks and parameters, searched before the usual ones.
        price_per_hour: of the machine, for the cost of a minute of video; None: it is not told.
    """

    title: str
    subjects: tuple[Subject, ...]
    methods: tuple[Method, ...]
    sounds: tuple[Sound, ...] = ()
    protocols: tuple[Protocol, ...] = ("reconstruction", "speed")
    seeds: tuple[int, ...] = (0,)
    lengths_s: tuple[float, ...] = (10.0, 30.0, 60.0)
    budgets: tuple[int, ...] = (300, 900, 3000)
    long_s: float = 600.0
    ablations: tuple[Table, ...] = TABLES
    ablated: str = "ours"
    varied: str = "ours"
    metrics: tuple[str, ...] = ()
    weights: Path | None = None
    price_per_hour: float | None = None

    def method(self, name: str) -> Method:
        """The method of a name.

        Raises:
            InputError: there is none.
        """
        found = next((m for m in self.methods if m.name == name), None)
        if found is None:
            raise _unknown("method", name, [m.name for m in self.methods])
        return found

    def narrowed(
        self,
        subjects: tuple[str, ...] = (),
        methods: tuple[str, ...] = (),
        protocols: tuple[str, ...] = (),
    ) -> Plan:
        """The part of the plan that is named; nothing named means all of it.

        Raises:
            InputError: a name is not in the plan.
        """
        names: dict[str, tuple[Sequence[str], tuple[str, ...]]] = {
            "subject": ([s.name for s in self.subjects], subjects),
            "method": ([m.name for m in self.methods], methods),
            "protocol": (list(self.protocols), protocols),
        }
        for what, (known, wanted) in names.items():
            for name in wanted:
                if name not in known:
                    raise _unknown(what, name, known)
        shown = set(methods) | {m.of for m in self.methods if m.name in methods and m.of}
        return dataclasses.replace(
            self,
            subjects=tuple(s for s in self.subjects if not subjects or s.name in subjects),
            methods=tuple(m for m in self.methods if not methods or m.name in shown),
            protocols=tuple(p for p in self.protocols if not protocols or p in protocols),
        )


def load_plan(path: Path) -> Plan:
    """Read a plan.

    Raises:
        InputError: no such file, not TOML, an unknown key or name, or a value of another type;
            the message names the field.
    """
    if not path.is_file():
        raise InputError(
            f"{path}: no such file.", reason="FILE_MISSING", remedy="Name a plan in TOML."
        )
    try:
        raw = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise _bad(str(path), f"not TOML ({error})") from error
    return checked(_plan(raw, path), str(path))


def plan_of(videos: Sequence[Path], preset: str, steps: int | None, seeds: tuple[int, ...]) -> Plan:
    """The plan of a command without a file: ours, its still mouth and the source on each video.

    Raises:
        InputError: no video, or two of one name.
    """
    if len({video.stem for video in videos}) != len(videos) or not videos:
        raise InputError(
            "Footage is needed, each file of another name.",
            reason="BAD_PLAN",
            remedy="Name a plan, or footage by --video.",
        )
    methods = (
        Method("source", "source"),
        Method("ours", "ours", preset, steps),
        Method("mean mouth", "mean-mouth", of="ours"),
    )
    subjects = tuple(Subject(video.stem, video) for video in videos)
    return Plan(", ".join(video.stem for video in videos), subjects, methods, seeds=seeds)


def _plan(raw: dict[str, Any], path: Path) -> Plan:
    root = path.parent
    named = {
        "subjects": _named(Subject, raw.pop("subjects", {}), f"{path}: subjects", root),
        "methods": _named(Method, raw.pop("methods", {}), f"{path}: methods", root),
        "sounds": _named(Sound, raw.pop("sounds", {}), f"{path}: sounds", root),
    }
    return _made(Plan, {"title": path.stem, **raw, **named}, str(path), root)


def checked(plan: Plan, where: str) -> Plan:
    """``plan``, if it can be run.

    Raises:
        InputError: a name that nothing has, or something that is missing.
    """
    if not plan.subjects or not plan.methods:
        raise _bad(where, "at least one subject and one method are needed")
    names, people = [m.name for m in plan.methods], [s.name for s in plan.subjects]
    for subject in plan.subjects:
        if sum(map(bool, (subject.video, subject.clips, subject.dataset))) != 1:
            raise _bad(f"{where}: subjects.{subject.name}", "give video, clips or dataset")
    for method in plan.methods:
        at = f"{where}: methods.{method.name}"
        for switch in method.without:
            if switch not in SWITCHES:
                raise _unknown("switch", switch, list(SWITCHES), at)
            if method.kind != "ours" and SWITCHES[switch].place in ("poses", "training"):
                raise _bad(f"{at}.without", f"{switch} changes training, and nothing is trained")
        if method.kind == "mean-mouth" and method.of not in names:
            raise _unknown("method", method.of, names, f"{at}.of")
        if method.kind in ("avatar", "import") and not method.paths:
            raise _bad(at, "paths must name a file or folder for each subject")
        for name in method.subjects:
            if name not in people:
                raise _unknown("subject", name, people, f"{at}.subjects")
        _check_tables(plan, method, where)
    sounds = [s.name for s in plan.sounds]
    for sound in plan.sounds:
        if sound.role not in ROLES:
            raise _unknown("role", sound.role, list(ROLES), f"{where}: sounds.{sound.name}")
        if sound.clean and sound.clean not in sounds:
            raise _unknown("sound", sound.clean, sounds, f"{where}: sounds.{sound.name}.clean")
    videos = [name for name, spec in METRICS.items() if spec.kind == "video"]
    for metric in plan.metrics:
        if metric not in videos:
            raise _unknown("metric", metric, videos, f"{where}: metrics")
    trained = [method.name for method in plan.methods if method.kind == "ours"]
    if "ablation" in plan.protocols and plan.ablated not in trained:
        raise _unknown("method of kind ours", plan.ablated, trained, f"{where}: ablated")
    if {"clip-length", "training-time"} & set(plan.protocols) and plan.varied not in trained:
        raise _unknown("method of kind ours", plan.varied, trained, f"{where}: varied")
    return plan


def _check_tables(plan: Plan, method: Method, where: str) -> None:
    at, people = f"{where}: methods.{method.name}.openface", {s.name: s for s in plan.subjects}
    for name in method.openface:
        if name not in people:
            raise _unknown("subject", name, list(people), at)
        if people[name].openface is None:
            raise _bad(f"{where}: subjects.{name}", f"{method.name} has a table, openface has none")
    if method.openface and len(plan.seeds) > 1:
        raise _bad(at, "a table is of one rendering, and there are several seeds")


def _named(kind: type[T], raw: object, where: str, root: Path) -> tuple[T, ...]:
    if not isinstance(raw, dict) or not all(isinstance(v, dict) for v in raw.values()):
        raise _bad(where, "tables are wanted")
    return tuple(
        _made(kind, {"name": name, **table}, f"{where}.{name}", root) for name, table in raw.items()
    )


def _made(kind: type[T], raw: dict[str, Any], where: str, root: Path) -> T:
    """A dataclass of TOML's values, each checked against its field's type."""
    hints = typing.get_type_hints(kind)
    for key in raw:
        if key not in hints:
            raise _unknown("key", key, [k for k in hints if k != "name"], where)
    values = {key: _value(hints[key], value, f"{where}.{key}", root) for key, value in raw.items()}
    try:
        return kind(**values)
    except TypeError as error:
        raise _bad(where, str(error).partition("()")[2].strip() or str(error)) from error


def _value(hint: Any, value: Any, where: str, root: Path) -> Any:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is types.UnionType:
        return _value(next(a for a in arguments if a is not type(None)), value, where, root)
    if origin is Literal:
        if value not in arguments:
            raise _unknown("value", str(value), list(map(str, arguments)), where)
        return value
    if origin is tuple:
        if not isinstance(value, (list, tuple)):
            raise _bad(where, "a list is wanted")
        if value and dataclasses.is_dataclass(value[0]):
            return tuple(value)
        return tuple(_value(arguments[0], each, where, root) for each in value)
    if hint is Path and isinstance(value, str):
        return Path(os.path.normpath(root / value))
    if hint == Mapping[str, Path] and isinstance(value, dict):
        return {key: _value(Path, each, f"{where}.{key}", root) for key, each in value.items()}
    if hint is float and type(value) is int:
        return float(value)
    if hint in (str, int, float, bool) and type(value) is hint:
        return str(root / value) if where.endswith(".clips") else value
    raise _bad(where, f"{value!r} is no {getattr(hint, '__name__', hint)}")


def _bad(where: str, what: str) -> InputError:
    return InputError(
        f"{where}: {what}.", reason="BAD_PLAN", remedy="docs/benchmark.md says what a plan holds."
    )


def _unknown(what: str, name: str, known: Sequence[str], where: str = "") -> InputError:
    return InputError(
        f"{where + ': ' if where else ''}there is no {what} {name!r}.",
        reason="BAD_PLAN",
        remedy=f"Known are {', '.join(known) or 'none'}.",
    )
