"""The CUDA backend against the CPU kernel and the reference, as the run book checks it."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device on this machine")
def test_pixels_gradients_loss_and_optimiser_agree(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    from gpu_parity import run_checks

    report = run_checks(torch.device("cuda"), quick=True)
    assert report["passed"], report["checks"]
