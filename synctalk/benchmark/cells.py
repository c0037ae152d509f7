"""The cells of a benchmark's tables: protocol x subject x method x seed, and what each rests on."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from synctalk.benchmark.plan import Method, Plan, Protocol, Sound, Subject
from synctalk.benchmark.switches import SWITCHES
from synctalk.evaluation.quality import OpenFacePair

SOURCE = Method("source", "source")
"""What every other method is put beside; part of each benchmark."""
TRAINED = ("ours", "synctalk")
RENDERING = ("ours", "avatar", "synctalk")
"""Kinds whose frame rates mean something."""
BY_SOUND: dict[Protocol, tuple[str, ...]] = {
    "cross-audio": ("Audio A", "Audio B"),
    "ood": ("OOD",),
    "long": ("long",),
}


@dataclass(frozen=True)
class Cell:
    """One measurement.

    Args:
        sound: None: the subject's own.
        seconds: how long ``long`` talks.
    """

    protocol: Protocol
    subject: Subject
    method: Method
    seed: int
    sound: Sound | None = None
    seconds: float = 0.0

    @property
    def name(self) -> str:
        """For people."""
        parts = [self.protocol, self.subject.name, self.method.name]
        if self.sound is not None:
            parts.insert(2, self.sound.name)
        return " · ".join(parts) + (f" · seed {self.seed}" if self.seed else "")


def cells_of(plan: Plan) -> list[Cell]:
    """All cells of a plan, protocol by protocol; none twice."""
    methods = [_resolved(plan, method) for method in plan.methods]
    if not any(m.kind == "source" for m in methods):
        methods.insert(0, SOURCE)
    found: list[Cell] = []
    for protocol in plan.protocols:
        for subject in plan.subjects:
            if not subject.protocols or protocol in subject.protocols:
                found += _of_protocol(plan, protocol, subject, methods)
    return list({_identity(cell): cell for cell in found}.values())


def _resolved(plan: Plan, method: Method) -> Method:
    """A mean mouth as the avatar that it is of."""
    if method.kind != "mean-mouth":
        return method
    whole = plan.method(method.of)
    subjects = method.subjects or whole.subjects
    return replace(
        whole, name=method.name, lips="mean", subjects=subjects, protocols=method.protocols,
        openface=method.openface,
    )  # fmt: skip


def _identity(cell: Cell) -> str:
    """The same for two cells that are the same measurement."""
    method = replace(cell.method, subjects=(), protocols=(), base="")
    return json.dumps(dataclasses.asdict(replace(cell, method=method)), default=str)


def _of_protocol(
    plan: Plan, protocol: Protocol, subject: Subject, methods: list[Method]
) -> Iterator[Cell]:
    if protocol == "ablation":
        yield from _ablations(plan, subject, methods)
    elif protocol in ("clip-length", "training-time"):
        yield from _varied(plan, protocol, subject, methods)
    else:
        wanted = [m for m in methods if not m.protocols or protocol in m.protocols]
        if protocol == "speed":
            wanted = [m for m in wanted if m.lips == "audio" and m.kind in RENDERING]
        if protocol in BY_SOUND:
            yield from _spoken(plan, protocol, subject, wanted)
        else:
            yield from _seeded(plan, protocol, subject, wanted)


def _spoken(
    plan: Plan, protocol: Protocol, subject: Subject, methods: list[Method]
) -> Iterator[Cell]:
    """Under the sounds of a protocol."""
    for sound in (s for s in plan.sounds if s.role in BY_SOUND[protocol]):
        if sound.subject and sound.subject != subject.name:
            continue
        for method in methods:
            if shows(method, subject, sound) and (protocol != "long" or _dubs(method)):
                seconds = plan.long_s if protocol == "long" else 0.0
                for seed in _seeds(plan, method):
                    yield Cell(protocol, subject, method, seed, sound, seconds=seconds)


def _seeded(
    plan: Plan, protocol: Protocol, subject: Subject, methods: Iterable[Method]
) -> Iterator[Cell]:
    """Under its own sound."""
    for method in methods:
        if shows(method, subject, None):
            for seed in _seeds(plan, method)[: 1 if protocol == "speed" else None]:
                yield Cell(protocol, subject, method, seed)


def _varied(
    plan: Plan, protocol: Protocol, subject: Subject, methods: list[Method]
) -> Iterator[Cell]:
    """The method whose footage or steps are varied, and what is made of it."""
    base = next((m for m in methods if m.name == plan.varied), None)
    if base is None:
        return
    bare = replace(base, openface={}, base=base.name)  # its tables are not those of its variants
    if protocol == "clip-length":
        changes = [
            replace(bare, name=f"{base.name}, {s:g} s of footage", footage_s=s)
            for s in plan.lengths_s
        ]
    else:
        whole = re.sub(r", \d+ steps$", "", base.name)
        changes = [replace(bare, name=f"{whole}, {n} steps", steps=n) for n in plan.budgets]
    yield from _seeded(plan, "reconstruction", subject, [base, *changes])


def _ablations(plan: Plan, subject: Subject, methods: list[Method]) -> Iterator[Cell]:
    base = next((m for m in methods if m.name == plan.ablated), None)
    if base is None or not shows(base, subject, None):
        return
    seed = plan.seeds[0]
    yield Cell("reconstruction", subject, base, seed)
    for switch in (s for s in SWITCHES.values() if s.table in plan.ablations):
        method = replace(
            base, name=switch.name, without=(switch.name,), base=base.name, openface={}
        )
        if switch.name in ("torso-restorer", "expression-generator"):
            sounds = [s for s in plan.sounds if s.role in BY_SOUND["cross-audio"]]
            part = replace(plan, seeds=(seed,), sounds=tuple(sounds[:1]))
            yield from _spoken(part, "cross-audio", subject, [base, method])
        elif switch.name != "portrait-sync-generator":  # the whole method's plain rendering
            yield Cell("reconstruction", subject, method, seed)


def shows(method: Method, subject: Subject, sound: Sound | None) -> bool:
    """Whether a method has something to show of a subject, speaking a sound."""
    if method.subjects and subject.name not in method.subjects:
        return False
    if sound is not None and method.lips == "tracked":  # nobody was tracked saying it
        return False
    if method.kind == "import":
        return video_key(subject, sound) in method.paths
    if method.kind == "avatar":
        return subject.name in method.paths
    return True


def video_key(subject: Subject, sound: Sound | None) -> str:
    """How ``Method.paths`` names an imported video."""
    return subject.name if sound is None else f"{subject.name}/{sound.name}"


def openface_tables(cell: Cell) -> OpenFacePair | None:
    """OpenFace's tables of the footage and of what a cell shows, if the plan names both."""
    reference = cell.subject.openface
    frame = cell.method.openface.get(cell.subject.name)
    if cell.protocol != "reconstruction" or reference is None or frame is None:
        return None
    return OpenFacePair(reference, frame)


def _dubs(method: Method) -> bool:
    return method.kind in ("ours", "avatar") and method.lips == "audio"


def _seeds(plan: Plan, method: Method) -> tuple[int, ...]:
    return plan.seeds if method.kind in TRAINED else plan.seeds[:1]


def digest(*parts: object) -> str:
    """Sixteen hex digits of what something rests on; JSON-able parts."""
    text = json.dumps(parts, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def file_digest(path: Path) -> str:
    """SHA-256 of a file; of a folder, that of the manifest that names its parts' digests."""
    with (path / "manifest.json" if path.is_dir() else path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
