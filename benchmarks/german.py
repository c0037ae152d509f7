"""Lips for a second language: German against English, the same voices, the same person's lip head.

    python benchmarks/german.py [--subject ../shared/data/virtual/subject_a]   → results/german.json

No film of a German speaker is at hand. So the truth is what the virtual person's lips do for each
mouth shape: a ridge from her exact mouth shapes, three frames to either side, to her exact lip gap
(English footage), asked for the mouth shapes of German and English sentences that espeak-ng speaks
in six voices. Her lip head, fitted on her English footage as training fits it, is driven by their
sound. Figures: the correlation of both openings, mean over the voices' sentences said in one
breath; how much of the English one German loses (25 % allowed); closures on p, b, m found at 10 %
false closings. The sentences are in no teacher's texts; espeak-ng is among the heads' teachers, in
other words. ``ridge_on_its_own_footage`` says how well mouth shapes tell her lip gap.
"""

from __future__ import annotations

import argparse
import json
import random
from pathlib import Path

import numpy as np
import torch
from ood import DATA, ROOT, correlation, dataset_of
from torch import Tensor
from torch.nn.functional import one_hot, pad

from synctalk.evaluation.machine import describe_machine
from synctalk.face_sync import VISEMES, AudioVisualEncoder
from synctalk.face_sync.corpus import join
from synctalk.face_sync.encoder import shapes_of
from synctalk.face_sync.examples import soft_labels
from synctalk.face_sync.speech import MELS_PER_FRAME
from synctalk.face_sync.teachers import Espeak
from synctalk.face_sync.visemes import BILABIAL, SILENCE
from synctalk.progress import ignore_progress
from synctalk.training.lips import fit_lips
from synctalk.training.subject import study

REACH = 3
RIDGE = 10.0
FALSE_CLOSINGS = 0.1
VOICES = (("m1", 45), ("m3", 35), ("m7", 50), ("f1", 55), ("f2", 65), ("f4", 60))
SENTENCES = {
    "en": (
        "Before breakfast my brother always walks the brown dog past the baker's shop.",
        "The old bridge over the river was closed because the water rose too quickly.",
        "Could you please bring me a cup of warm milk and a piece of plum cake?",
        "We moved our piano up four floors, and nobody wants to do that again.",
        "In summer the harbour smells of fish, fresh paint and burnt rope.",
        "She bought a blue umbrella, although it hardly ever rains in that part of Spain.",
    ),
    "de": (
        "Vor dem Frühstück geht mein Bruder immer mit dem braunen Hund am Bäcker vorbei.",
        "Die alte Brücke über den Fluss war gesperrt, weil das Wasser zu schnell stieg.",
        "Könnten Sie mir bitte eine Tasse warme Milch und ein Stück Pflaumenkuchen bringen?",
        "Wir haben unser Klavier vier Stockwerke hinaufgetragen, und keiner will das noch einmal.",
        "Im Sommer riecht der Hafen nach Fisch, frischer Farbe und verbranntem Tau.",
        "Sie kaufte einen blauen Regenschirm, obwohl es in dem Teil Spaniens kaum je regnet.",
    ),
}


def around(shapes: Tensor) -> Tensor:
    """[T, 15] shares of mouth shapes to [T, 7 * 15 + 1], neighbours and a constant beside them."""
    edges = pad(shapes.T[None], (REACH, REACH), mode="replicate")[0].T
    near = [edges[i : i + len(shapes)] for i in range(2 * REACH + 1)]
    return torch.cat([*near, torch.ones(len(shapes), 1)], dim=1)


def gap_of_shapes(subject: Path) -> tuple[Tensor, float]:
    """Weights [106] from mouth shapes to her lip gap in mm, and their correlation on the rest."""
    exact = np.load(subject / "truth.npz")
    assert tuple(exact["viseme_names"]) == VISEMES
    shapes = one_hot(torch.from_numpy(exact["viseme_id"]).long(), len(VISEMES)).float()
    gap, inputs = torch.from_numpy(exact["lip_gap_mm"]).float(), around(shapes)
    known = len(gap) * 10 // 11
    weights = ridge(inputs[:known], gap[:known])
    return ridge(inputs, gap), correlation(inputs[known:] @ weights, gap[known:])


def ridge(inputs: Tensor, wanted: Tensor) -> Tensor:
    gram = inputs.T @ inputs + RIDGE * torch.eye(inputs.shape[1])
    weights: Tensor = torch.linalg.solve(gram, inputs.T @ wanted)
    return weights


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--subject", type=Path, default=DATA / "virtual" / "subject_a")
    parser.add_argument("--cache", type=Path, default=ROOT / "out" / "bench")
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results" / "german.json")
    arguments = parser.parse_args()
    subject = arguments.subject
    dataset = dataset_of(subject / "train.mp4", arguments.cache / f"{subject.name}.dataset")
    learnt = study(dataset)
    regressor = fit_lips(dataset, learnt, ignore_progress)
    weights, on_footage = gap_of_shapes(subject)
    encoder, espeak = AudioVisualEncoder.pretrained(), Espeak()
    results: dict[str, object] = {"ridge_on_its_own_footage": round(on_footage, 3)}
    means = {}
    for language, sentences in SENTENCES.items():
        found, closed = [], []
        for variant, pitch in VOICES:
            said = [
                espeak.speak(
                    f"{language}+{variant}", text, words_per_minute=160, pitch=pitch, pitch_range=50
                )
                for text in sentences
            ]
            voice = join(said, random.Random(0))
            frames = len(voice.sounds) // MELS_PER_FRAME
            shapes = shapes_of(soft_labels(voice.sounds, frames))
            wanted = around(shapes) @ weights
            gap = learnt.space.mouth_opening(regressor.predict(encoder.encode(voice.wav, frames)))
            found.append(correlation(gap, wanted))
            open_ = (shapes[:, BILABIAL] < 0.1) & (shapes[:, SILENCE] < 0.1)
            threshold = gap[open_].quantile(FALSE_CLOSINGS)
            closed.append(float((gap[shapes[:, BILABIAL] > 0.5] <= threshold).float().mean()))
        means[language] = float(np.mean(found))
        results[language] = {
            "opening_r": round(means[language], 3),
            "closure_recall": round(float(np.mean(closed)), 3),
            "opening_r_by_voice": [round(r, 3) for r in found],
        }
    results["german_loses"] = round(1.0 - means["de"] / means["en"], 3)
    report = {"machine": describe_machine().as_dict(), "results": results}
    arguments.out.write_text(json.dumps(report, indent=1) + "\n")
    print(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()
