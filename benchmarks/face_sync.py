"""What the audio-visual encoder and its discriminator know of people they never met.

    python benchmarks/face_sync.py [--cache DIR] [--weights DIR]
    → benchmarks/results/face_sync.json

Encoder: a plain ridge on its rows is fitted to one person's mouth opening and asked for another's
("unseen"), or for the rest of the same person's speech after 15 to 40 s of it ("own"). Lips are
tracked; the opening is the inner lips' gap over the distance between the eyes. The correlation of
each test person counts once. People whom the weights were trained on (``SEEN``) give heads and
are never asked. Closures: frames of m, b and p against other speech frames, by the bilabial
posterior and the opening that a stranger's head predicts; sounds of GRID clips come from forced
alignment (PocketSphinx, which ``make setup`` installs), the virtual person's are exact. Noise:
the clean narrative's prediction is the reference for the same words in a cafeteria.
Discriminator: windows in time against the same windows with lips at least five frames off; lags
in windows of three seconds. German: no video of a German speaker is at hand, so only how sure the
encoder is of the sounds, beside English.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from synctalk.evaluation.machine import describe_machine
from synctalk.face import MeshFaceTracker
from synctalk.face_sync import LAYOUT, AudioVisualEncoder
from synctalk.face_sync.align import Phone, align, grid_words
from synctalk.face_sync.augment import disturbed_features
from synctalk.face_sync.discriminator import REACH, SyncDiscriminator, cosine, lip_shapes
from synctalk.face_sync.encoder import WEIGHTS
from synctalk.face_sync.lip_features import GAP_PAIRS
from synctalk.face_sync.lip_head import voice_activity
from synctalk.face_sync.visemes import BILABIAL, SILENCE
from synctalk.media import VideoReader, read_audio

ROOT = Path(__file__).resolve().parent.parent
DATA = ROOT.parent / "shared" / "data"
VIDEO = DATA / "video"
ANCHOR_CUTS = (176, 702, 953, 1429)
# Clips whose audio comes after (or, negative, before) their lips, as every encoder finds it.
LATE_FRAMES = {"speech_20s_450": 6, "glasses_5s_524": -2}
GRID_CLIPS = 60
SEEN = {"grid_s1"}
PAST, FUTURE = 3, 1  # frames of context, as the product's lip head
RIDGE = 2000.0
MEL_WEIGHT = 0.5
OWN_FRAMES = 1000
REST_QUANTILE = 0.15  # of the opening: nearly closed, the same rule for everybody


@dataclass(frozen=True)
class Clip:
    """Speech and the lips that spoke it."""

    name: str
    wav: Tensor  # [n]
    opening: Tensor  # [T]
    width: Tensor  # [T]
    valid: Tensor  # [T] bool
    shapes: Tensor  # [T, 80] see discriminator.lip_shapes


@dataclass(frozen=True)
class Person:
    """All clips of one person."""

    name: str
    clips: list[Clip]


def correlation(a: Tensor, b: Tensor) -> float:
    return float(torch.corrcoef(torch.stack([a, b]))[0, 1])


def area_under_curve(positive: Tensor, negative: Tensor) -> float:
    """Share of pairs in which the positive scores higher."""
    order = torch.cat([positive, negative]).argsort().argsort().double() + 1
    n, m = len(positive), len(negative)
    return float((order[:n].sum() - n * (n + 1) / 2) / (n * m))


def load_clip(path: Path, cache: Path) -> Clip:
    """Track a clip, or read what was tracked before."""
    stored = cache / f"{path.stem}.npz"
    if not stored.exists():
        with VideoReader(path) as reader:
            frames = list(reader.iter_rgb())
        cuts = ANCHOR_CUTS if path.stem.startswith("anchor") else ()
        found = MeshFaceTracker(1).track(frames, cuts=cuts)
        np.savez(stored, mesh=found.mesh, score=found.score, wav=read_audio(path))
    with np.load(stored) as file:
        mesh = torch.from_numpy(file["mesh"]).float()[..., :2]
        valid, wav = torch.from_numpy(file["score"] > 0), torch.from_numpy(file["wav"])
    late = 640 * LATE_FRAMES.get(path.stem, 0)
    wav = torch.nn.functional.pad(wav, (-late, 0))

    def length(a: int, b: int) -> Tensor:
        return (mesh[:, a] - mesh[:, b]).norm(dim=1)

    eyes = length(33, 263)
    gap = torch.stack([length(a, b) for a, b in GAP_PAIRS]).mean(0)
    width = length(61, 291) / eyes
    return Clip(path.stem, wav, gap / eyes, width, valid, lip_shapes(mesh, valid))


def people(cache: Path) -> list[Person]:
    cache.mkdir(parents=True, exist_ok=True)
    single = ["anchor_71s_512.mp4", "speech_20s_450.mp4", "glasses_5s_524.mp4"]
    single += ["moving_background_8s_512.mp4"]
    paths = [[VIDEO / name] for name in single]
    paths += [[path] for path in sorted((VIDEO / "grid_speakers").glob("*.mpg"))]
    paths += [sorted((VIDEO / "grid_s1").glob("*.mpg"))[:GRID_CLIPS]]
    names = [*(p[0].stem for p in paths[:-1]), "grid_s1"]
    return [
        Person(n, [load_clip(path, cache) for path in p]) for n, p in zip(names, paths, strict=True)
    ]


def stack(rows: Tensor) -> Tensor:
    padded = torch.nn.functional.pad(rows.T[None], (PAST, FUTURE), mode="replicate")[0].T
    return torch.cat([padded[i : i + len(rows)] for i in range(PAST + FUTURE + 1)], dim=1)


@dataclass(frozen=True)
class Head:
    """Ridge from feature rows to one standardised number; ``rest`` where nobody speaks."""

    mean: Tensor
    scale: Tensor
    weight: Tensor
    rest: float

    def __call__(self, rows: Tensor) -> Tensor:
        found = stack((rows - self.mean) / self.scale) @ self.weight
        activity = voice_activity(rows)
        return activity * found + (1.0 - activity) * self.rest


def fit(copies: list[list[Tensor]], targets: list[Tensor], valid: list[Tensor]) -> Head:
    """A head from clips, each as it is and disturbed; clean and disturbed count alike."""
    rows = torch.cat([rows for clip in copies for rows in clip])
    mean, scale = rows.mean(0), rows.std(0).clamp_min(1e-4)
    scale[LAYOUT.mel] /= MEL_WEIGHT
    gram = torch.zeros(5 * LAYOUT.dim, 5 * LAYOUT.dim, dtype=torch.float64)
    moment = torch.zeros(5 * LAYOUT.dim, dtype=torch.float64)
    wanted = torch.cat([t[v] for t, v in zip(targets, valid, strict=True)])
    for clip, target, used in zip(copies, targets, valid, strict=True):
        y = ((target - wanted.mean()) / wanted.std())[used].double()
        for i, rows in enumerate(clip):
            share = 0.5 if i == 0 else 0.5 / (len(clip) - 1)
            x = stack((rows - mean) / scale)[used].double()
            gram += share * (x.T @ x)
            moment += share * (x.T @ y)
    gram.diagonal().add_(RIDGE)
    rest = float(((wanted - wanted.mean()) / wanted.std()).quantile(REST_QUANTILE))
    return Head(mean, scale, torch.linalg.solve(gram, moment).float(), rest)


class Features:
    """Rows of every clip, computed once."""

    def __init__(self, encoder: AudioVisualEncoder, causal: bool) -> None:
        self.encoder, self.causal = encoder, causal
        self._kept: dict[str, Tensor] = {}

    def clean(self, clip: Clip) -> Tensor:
        if clip.name not in self._kept:
            frames = len(clip.opening)
            self._kept[clip.name] = self.encoder.encode(clip.wav, frames, causal=self.causal)
        return self._kept[clip.name]

    def copies(self, clip: Clip) -> list[Tensor]:
        frames = len(clip.opening)
        return disturbed_features(self.encoder, clip.wav, frames, copies=2, causal=self.causal)


def head_of(clips: list[Clip], features: Features, part: str = "opening") -> Head:
    copies = [features.copies(clip) for clip in clips]
    return fit(copies, [getattr(c, part) for c in clips], [c.valid for c in clips])


def score(head: Head, clips: list[Clip], features: Features, part: str = "opening") -> float:
    found = torch.cat([head(features.clean(c))[c.valid] for c in clips])
    return correlation(found, torch.cat([getattr(c, part)[c.valid] for c in clips]))


def first_frames(clip: Clip, frames: int) -> tuple[Clip, Clip]:
    def part(rows: slice, wav: Tensor, name: str) -> Clip:
        parts = (clip.opening[rows], clip.width[rows], clip.valid[rows], clip.shapes[rows])
        return Clip(clip.name + name, wav, *parts)

    known = part(slice(0, frames), clip.wav[: 640 * frames], " (known)")
    return known, part(slice(frames, None), clip.wav[640 * frames :], " (rest)")


def own(persons: dict[str, Person], features: Features) -> dict[str, float]:
    """20 to 40 s of the person, tested on the rest."""
    result = {}
    for name, frames in (("anchor_71s_512", OWN_FRAMES), ("speech_20s_450", 375)):
        known, rest = first_frames(persons[name].clips[0], frames)
        result[name] = score(head_of([known], features), [rest], features)
    clips = persons["grid_s1"].clips
    if "grid_s1" not in SEEN:
        result["grid_s1"] = score(head_of(clips[:13], features), clips[13:], features)
    return result


def unseen(persons: dict[str, Person], features: Features, heads: dict[str, Head], part: str):
    """Each head on every other person; one figure a person."""
    return {
        name: {
            other.name: score(head, other.clips, features, part)
            for other in persons.values()
            if other.name != name and other.name not in SEEN
        }
        for name, head in heads.items()
    }


def sound_masks(phones: list[Phone], frames: int) -> tuple[Tensor, Tensor]:
    """Frames of m, b, p; frames of speech at least two frames from any of them."""
    time = (torch.arange(frames) + 0.5) / 25
    closed, speech = torch.zeros(frames, dtype=torch.bool), torch.zeros(frames, dtype=torch.bool)
    for phone in phones:
        own_frames = (time >= phone.start_s) & (time < phone.end_s)
        speech |= own_frames & (phone.name != "pau")
        closed |= own_frames & (phone.name in ("m", "b", "p"))
    near = torch.nn.functional.max_pool1d(closed[None].float(), 5, 1, 2)[0] > 0
    return closed, speech & ~near


def closures(persons: dict[str, Person], features: Features, head: Head, cache: Path):
    """How well closures are told from other speech, GRID people and the virtual person."""
    found: dict[str, list[tuple[Tensor, Tensor, Tensor, Tensor]]] = {"grid_speakers": []}
    for person in persons.values():
        if person.name in SEEN or person.name.startswith(("anchor", "speech", "glasses", "moving")):
            continue
        for clip in person.clips:
            masks = sound_masks(grid_phones(clip, cache), len(clip.opening))
            rows = features.clean(clip)
            found["grid_speakers"].append(
                (rows[:, LAYOUT.visemes][:, BILABIAL], head(rows), *masks)
            )
    folder = DATA / "virtual" / "subject_a"
    for name, wav in (("truth", "train.wav"), ("ood_truth", "ood.wav")):
        truth = np.load(folder / f"{name}.npz")
        envelope = torch.from_numpy(truth["lip_closure_env"])
        silent = torch.from_numpy(truth["viseme_id"] == list(truth["viseme_names"]).index("sil"))
        audio = torch.from_numpy(read_audio(folder / wav))
        rows = features.encoder.encode(audio, len(envelope), causal=features.causal)
        masks = (envelope > 0.5, (envelope < 0.1) & ~silent)
        found[f"virtual {name}"] = [(rows[:, LAYOUT.visemes][:, BILABIAL], head(rows), *masks)]
    return {name: closure_figures(parts) for name, parts in found.items()}


def closure_figures(parts: list[tuple[Tensor, ...]]) -> dict[str, float]:
    posterior, opening, closed, open_ = (torch.cat(p) for p in zip(*parts, strict=True))
    both = (posterior + 1e-4).log() - 0.5 * opening / opening.std()
    return {
        "posterior": area_under_curve(posterior[closed], posterior[open_]),
        "opening": area_under_curve(-opening[closed], -opening[open_]),
        "both": area_under_curve(both[closed], both[open_]),
        "recall_at_10": float((both[closed] > both[open_].quantile(0.9)).float().mean()),
    }


def grid_phones(clip: Clip, cache: Path) -> list[Phone]:
    stored = cache / f"{clip.name}.json"
    if not stored.exists():
        stored.write_text(json.dumps(align(clip.wav.numpy(), grid_words(Path(clip.name + ".mpg")))))
    return [Phone(*phone) for phone in json.loads(stored.read_text())]


def noise(heads: dict[str, Head], features: Features) -> dict[str, float]:
    """Correlation of the prediction in a cafeteria at 0 dB with the clean one."""
    wavs = [
        torch.from_numpy(read_audio(DATA / "audio" / f"narrative_{kind}.wav"))
        for kind in ("clean", "cafeteria_0db")
    ]
    frames = min(len(w) for w in wavs) // 640
    rows = [features.encoder.encode(w, frames, causal=features.causal) for w in wavs]
    return {name: correlation(head(rows[0]), head(rows[1])) for name, head in heads.items()}


def sync(persons: dict[str, Person], features: Features, judge: SyncDiscriminator):
    """Own sync scores of people whom neither network has met."""
    by_person: dict[str, list[Windows]] = {}
    for person in persons.values():
        if person.name not in SEEN:
            by_person[person.name] = [windows(c, features, judge) for c in person.clips]
    everyone = [w for found in by_person.values() for w in found]
    figures = {name: sync_figures(w) for name, w in by_person.items()}
    mean = {
        key: float(np.mean([of_one[key] for of_one in figures.values()]))
        for key in sync_figures(everyone)
    }
    return {"all_windows": sync_figures(everyone), "mean_of_people": mean, "by_person": figures}


@dataclass(frozen=True)
class Windows:
    """Cosines of a clip: in time and off by five frames or more; lags of three-second windows."""

    short: tuple[list[float], list[float]]
    long: tuple[list[float], list[float]]
    lags: list[int]


def windows(clip: Clip, features: Features, judge: SyncDiscriminator) -> Windows:
    audio, lips = judge.embed_audio(features.clean(clip)), judge.embed_lips(clip.shapes)
    found, lags = {25: ([], []), 75: ([], [])}, []
    for length, hop in ((25, 10), (75, 25)):
        for first in range(0, len(lips) - length + 1, hop):
            cosines = {}
            for lag in range(-REACH, REACH + 1):
                a, b = max(first, -lag), min(first + length, len(lips) - max(0, lag))
                if b - a >= (length if length == 25 else length - REACH):
                    cosines[lag] = float(cosine(audio[a:b], lips[a + lag : b + lag]))
            if 0 in cosines and len(cosines) > REACH:
                found[length][0].append(cosines[0])
                found[length][1].extend(v for lag, v in cosines.items() if abs(lag) >= 5)
                if length == 75:
                    lags.append(max(cosines, key=cosines.__getitem__))
    return Windows(found[25], found[75], lags)


def sync_figures(found: list[Windows]) -> dict[str, float]:
    report = {}
    for name, pairs in (("1s", [w.short for w in found]), ("3s", [w.long for w in found])):
        right, wrong = (torch.tensor([x for p in pairs for x in p[i]]) for i in (0, 1))
        report[f"auc_{name}"] = area_under_curve(right, wrong)
    lags = [lag for w in found for lag in w.lags]
    report["lag_within_1_3s"] = float(np.mean([abs(lag) <= 1 for lag in lags]))
    return report


def certainty(features: Features) -> dict[str, float]:
    """Mean highest posterior in speech: how sure the encoder is of a language's sounds."""
    found = {}
    for name in ("german_9s", "english_60s", "narrative_clean"):
        wav = torch.from_numpy(read_audio(DATA / "audio" / f"{name}.wav"))
        rows = features.encoder.encode(wav, len(wav) // 640, causal=features.causal)
        visemes = rows[:, LAYOUT.visemes]
        speech = visemes[:, SILENCE] < 0.5
        found[name] = float(visemes[speech].amax(1).mean())
    return found


def measure(encoder: AudioVisualEncoder, persons: dict[str, Person], cache: Path, causal: bool):
    features = Features(encoder, causal)
    givers = ("anchor_71s_512", "grid_s1", "speech_20s_450")
    heads = {name: head_of(persons[name].clips, features) for name in givers}
    widths = {name: head_of(persons[name].clips, features, "width") for name in givers[:2]}
    r = unseen(persons, features, heads, "opening")
    w = unseen(persons, features, widths, "width")
    report = {
        "unseen": {name: float(np.mean(list(v.values()))) for name, v in r.items()},
        "unseen_width": {name: float(np.mean(list(v.values()))) for name, v in w.items()},
        "unseen_by_person": r,
        "own": own(persons, features),
        "closures": closures(persons, features, heads["anchor_71s_512"], cache),
        "noise": noise(heads, features),
        "certainty": certainty(features),
    }
    report["unseen"]["mean"] = float(np.mean(list(report["unseen"].values())))
    report["own"]["mean"] = float(np.mean(list(report["own"].values())))
    return report


def rounded(value):
    if isinstance(value, dict):
        return {k: rounded(v) for k, v in value.items()}
    return round(value, 3) if isinstance(value, float) else value


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--cache", type=Path, default=Path("/tmp/synctalk-face-sync"))
    parser.add_argument("--weights", type=Path, default=WEIGHTS.parent)
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks/results/face_sync.json")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    encoder = AudioVisualEncoder.pretrained(arguments.weights / "encoder.safetensors")
    judge = SyncDiscriminator.pretrained(arguments.weights / "discriminator.safetensors")
    persons = {person.name: person for person in people(arguments.cache)}
    results = {
        "encoder": measure(encoder, persons, arguments.cache, causal=False),
        "encoder_causal": measure(encoder, persons, arguments.cache, causal=True),
        "discriminator": sync(persons, Features(encoder, causal=False), judge),
    }
    report = {"machine": describe_machine().as_dict(), "results": rounded(results)}
    arguments.out.write_text(json.dumps(report, indent=1) + "\n")
    print(json.dumps(report["results"], indent=1))


if __name__ == "__main__":
    main()
