"""What ``benchmarks/gpu.sh`` runs: stages on one device, one JSON.

    benchmarks/gpu.sh --dataset DIR [--avatar DIR] [--device cuda] [--quick] [--out FILE]

Stages: ``build`` (gsplat compiles), ``parity``, ``speed`` of a given avatar, ``train`` (the
standard preset in as many steps as fit the time) and ``speed_trained``. One that fails is noted
with its error and the others go on; the exit code says whether all went well. The file is written
anew after every stage, so that a run that is cut off leaves what it measured.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch
from gpu_parity import run_checks
from gpu_speed import measure

import synctalk
from synctalk.avatar import Avatar, pick_device
from synctalk.dataset import SubjectDataset
from synctalk.evaluation.machine import describe_machine
from synctalk.expression import VQVAETraining
from synctalk.progress import ignore_progress
from synctalk.training import TrainConfig, preset
from synctalk.training.trainer import Trainer

ROOT = Path(__file__).resolve().parent.parent
CALIBRATION_STEPS = 150
LEAST_STEPS = 300
DRY_RUN = (
    "A dry run: it shows that the run book's lines work, without those that need CUDA. Its rates "
    "are of a CPU, measured too briefly to mean anything."
)


class RunBook:
    """The stages in order, and their results on disk."""

    def __init__(self, arguments: argparse.Namespace) -> None:
        self.arguments = arguments
        self.device = pick_device(arguments.device)
        self.ok = True
        dry = self.device.type != "cuda"
        self.report: dict[str, object] = {
            **({"dry_run": DRY_RUN} if dry else {}),
            "device": self.device.type,
            "quick": arguments.quick,
            "machine": describe_machine().as_dict(),
            "cuda": torch.version.cuda or "none",
            "stages": {},
        }

    def stage(self, name: str, work: Callable[[], dict[str, object]]) -> None:
        """Run ``work``; its result or its error goes into the report."""
        start = time.monotonic()
        print(f"{name} …", flush=True)
        try:
            outcome: dict[str, object] = {"ok": True, **work()}
        except Exception as error:  # the figures of the other stages must not be lost
            traceback.print_exc()
            outcome = {"ok": False, "error": f"{type(error).__name__}: {error}"}
        outcome["ok"] = bool(outcome["ok"]) and outcome.get("passed") is not False
        self.ok &= bool(outcome["ok"])
        outcome["seconds"] = round(time.monotonic() - start, 1)
        self.report["stages"][name] = outcome  # type: ignore[index]
        draft = self.arguments.out.with_suffix(".writing")
        draft.write_text(json.dumps(self.report, indent=2) + "\n")
        os.replace(draft, self.arguments.out)
        print(f"{name}: {'ok' if outcome['ok'] else 'FAILED'}, {outcome['seconds']} s", flush=True)


def build(device: torch.device) -> dict[str, object]:
    """Compile gsplat, which it does at its first use."""
    if device.type != "cuda":
        return {"skipped": "gsplat is built on CUDA machines only"}
    import gsplat
    from gsplat.cuda._backend import _C

    if _C is None:
        raise RuntimeError("gsplat found no CUDA toolkit: put nvcc on the PATH or set CUDA_HOME")
    return {"gsplat": gsplat.__version__}


def train(
    dataset: SubjectDataset, device: torch.device, out: Path, seconds: float, quick: bool
) -> dict[str, object]:
    """Train the standard preset in the steps that take about ``seconds``, and write the avatar.

    The torso restorer is left out: it trains on the CPU and is not what is asked here.
    """
    config = replace(preset("standard"), torso_steps=0, expression=VQVAETraining(steps=100))
    if quick:
        less = VQVAETraining(steps=5)
        config = replace(config, n_gaussians=1500, max_frames=40, expression=less)
    rate = steps_a_second(dataset, config, device, 6 if quick else CALIBRATION_STEPS)
    steps = 12 if quick else max(LEAST_STEPS, int(rate * seconds))
    shutil.rmtree(out, ignore_errors=True)
    avatar = synctalk.train(
        dataset.path, out, config=replace(config, steps=steps), device=device.type
    )
    manifest = avatar.manifest
    return {
        "steps": steps,
        "steps_a_second_at_full_size": round(rate, 2),
        "train_s": manifest.timings_s["train"],
        "held_out_psnr_db": manifest.metrics.get("held_out_psnr_db"),
        "curve": [[p.seconds, p.step, p.psnr_db] for p in manifest.training_curve],
        "peak_gpu_memory_mib": _peak_mib(device),
    }


def steps_a_second(
    dataset: SubjectDataset, config: TrainConfig, device: torch.device, steps: int
) -> float:
    """Rate of stage 2 at full resolution, over the second half of ``steps``."""
    # stage 1 takes one step and no part is at half resolution
    whole = replace(
        config, steps=steps, canonical_share=1e-6, half_resolution_share=0.0,
        evaluate_every=steps // 2,
    )  # fmt: skip
    trainer = Trainer(dataset, whole, device, ignore_progress)
    trainer.run(lambda checkpoint: None)
    middle, end = trainer.curve[0], trainer.curve[-1]
    return (end.step - middle.step) / max(end.seconds - middle.seconds, 1e-3)


def _peak_mib(device: torch.device) -> float | None:
    if device.type != "cuda":
        return None
    return round(torch.cuda.max_memory_allocated() / 2**20, 1)


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dataset", type=Path, required=True)
    parser.add_argument("--avatar", type=Path, help="an avatar whose rates are measured first")
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--quick", action="store_true", help="as little as possible of everything")
    parser.add_argument("--stages", help="comma-separated; default: all that there is work for")
    parser.add_argument("--train-seconds", type=float, default=120.0)
    parser.add_argument("--work", type=Path, default=ROOT / "out" / "gpu")
    parser.add_argument("--out", type=Path, help="default: gpu.json in --work")
    return parser.parse_args()


def main() -> None:
    """Run the stages."""
    arguments = parse()
    quick, work = arguments.quick, arguments.work
    work.mkdir(parents=True, exist_ok=True)
    arguments.out = arguments.out or work / "gpu.json"
    book = RunBook(arguments)
    device, trained = book.device, work / "trained.avatar"
    dataset = SubjectDataset.open(arguments.dataset)

    def speed(path: Path) -> dict[str, object]:
        return measure(Avatar.load(path, device.type), dataset, work, quick)

    stages = {
        "build": lambda: build(device),
        "parity": lambda: run_checks(device, quick),
        "speed": lambda: speed(arguments.avatar),
        "train": lambda: train(dataset, device, trained, arguments.train_seconds, quick),
        "speed_trained": lambda: speed(trained),
    }
    if not arguments.avatar:
        del stages["speed"]
    wanted = arguments.stages.split(",") if arguments.stages else list(stages)
    for name, stage in stages.items():
        if name in wanted:
            book.stage(name, stage)
    print(f"written: {arguments.out}")
    sys.exit(0 if book.ok else 1)


if __name__ == "__main__":
    main()
