"""The cells of a benchmark's tables: protocol x subject x method x seed, and what each rests on."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from synctalk.benchmark.plan import Method, Plan, Protocol, Sound, Subject
from synctalk.benchmark.switches import SWITCHES

SOURCE = Method("source", "source")
"""What every other method is put beside; part of each benchmark."""
TRAINED = ("ours", "synctalk")
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
        speed: whether frame rates are measured with it.
        seconds: how long ``long`` talks.
    """

    protocol: Protocol
    subject: Subject
    method: Method
    seed: int
    sound: Sound | None = None
    speed: bool = False
    seconds: float = 0.0

    @property
    def name(self) -> str:
        """For people."""
        parts = [self.protocol, self.subject.name, self.method.name]
        if self.sound is not None:
            parts.insert(2, self.sound.name)
        return " · ".join(parts) + (f" · seed {self.seed}" if self.seed else "")


def cells_of(plan: Plan) -> list[Cell]:
    """All cells of a plan, subject by subject; none twice."""
    methods = [_resolved(plan, method) for method in plan.methods]
    if not any(m.kind == "source" for m in methods):
        methods.insert(0, SOURCE)
    found: list[Cell] = []
    for subject in plan.subjects:
        for protocol in plan.protocols:
            if subject.protocols and protocol not in subject.protocols:
                continue
            found += _of_protocol(plan, protocol, subject, methods)
        if subject.ablated:
            found += _ablations(plan, subject)
    return list(_unique(found))


def _resolved(plan: Plan, method: Method) -> Method:
    """A mean mouth as the avatar that it is of."""
    if method.kind != "mean-mouth":
        return method
    return replace(plan.method(method.of), name=method.name, lips="mean")


def _unique(cells: list[Cell]) -> Iterator[Cell]:
    """The same measurement once, with its speed if anybody wants it."""
    seen: dict[str, Cell] = {}
    for cell in cells:
        key = json.dumps(dataclasses.asdict(replace(cell, speed=False)), default=str)
        first = seen.get(key)
        seen[key] = cell if first is None else replace(first, speed=first.speed or cell.speed)
    yield from seen.values()


def _of_protocol(
    plan: Plan, protocol: Protocol, subject: Subject, methods: list[Method]
) -> Iterator[Cell]:
    if protocol in BY_SOUND:
        sounds = [s for s in plan.sounds if s.role in BY_SOUND[protocol]]
        for sound in sounds:
            if sound.subject and sound.subject != subject.name:
                continue
            for method in methods:
                if shows(method, subject, sound) and (protocol != "long" or _dubs(method)):
                    seconds = plan.long_s if protocol == "long" else 0.0
                    for seed in _seeds(plan, method):
                        yield Cell(protocol, subject, method, seed, sound, seconds=seconds)
        return
    for method in methods:
        for variant in _variants(plan, protocol, method):
            if shows(variant, subject, None):
                plain = protocol == "reconstruction" and not variant.without
                speed = plan.speed and plain and variant.lips == "audio"
                for seed in _seeds(plan, variant):
                    timed = speed and variant.kind in ("ours", "avatar", "synctalk")
                    yield Cell("reconstruction", subject, variant, seed, speed=timed)


def _variants(plan: Plan, protocol: Protocol, method: Method) -> Iterator[Method]:
    """The methods that a protocol makes of one."""
    if protocol == "reconstruction":
        yield method
    elif method.name == plan.varied:
        yield method
        if protocol == "clip-length":
            for seconds in plan.lengths_s:
                name = f"{method.name}, {seconds:g} s of footage"
                yield replace(method, name=name, footage_s=seconds, base=method.name)
        else:
            for steps in plan.budgets:
                name = f"{method.name}, {steps} steps"
                yield replace(method, name=name, steps=steps, base=method.name)


def _ablations(plan: Plan, subject: Subject) -> Iterator[Cell]:
    base = next((m for m in plan.methods if m.name == plan.ablated), None)
    if base is None or not plan.ablations or not shows(base, subject, None):
        return
    wanted = [s for s in SWITCHES.values() if s.table in plan.ablations]
    yield Cell("reconstruction", subject, base, plan.seeds[0])
    for switch in wanted:
        method = replace(base, name=switch.name, without=(switch.name,), base=base.name)
        if switch.name in ("torso-restorer", "expression-generator"):
            sounds = [s for s in plan.sounds if s.role in BY_SOUND["cross-audio"]]
            for sound in sounds:
                if not sound.subject or sound.subject == subject.name:
                    yield Cell("cross-audio", subject, base, plan.seeds[0], sound)
                    yield Cell("cross-audio", subject, method, plan.seeds[0], sound)
        elif switch.name != "portrait-sync-generator":  # the whole method's plain rendering
            yield Cell("reconstruction", subject, method, plan.seeds[0])


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
