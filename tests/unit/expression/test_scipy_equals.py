"""What stands in for SciPy, which takes longer to load than a short dub, gives what SciPy gives."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter1d
from scipy.signal import find_peaks

from synctalk.expression.events import _highest_peaks
from synctalk.expression.prosody import smoothed


@pytest.mark.parametrize("seed", range(20))
def test_the_highest_peaks_are_those_of_scipy(seed: int) -> None:
    draws = np.random.default_rng(seed)
    values = 2 * gaussian_filter1d(draws.normal(size=400), 2)
    spacing, most = int(draws.integers(1, 40)), int(draws.integers(1, 30))
    peaks, _ = find_peaks(values, height=0.5, distance=spacing)
    wanted = sorted(peaks[np.argsort(values[peaks], kind="stable")[::-1][:most]])
    assert _highest_peaks(values, 0.5, spacing, most) == wanted


@pytest.mark.parametrize("n", [1, 2, 3, 400])
@pytest.mark.parametrize("sigma", [1.0, 1.5, 25.0])
def test_smoothing_is_that_of_scipy(n: int, sigma: float) -> None:
    values = np.random.default_rng(n).normal(size=n)
    assert smoothed(values, sigma) == pytest.approx(gaussian_filter1d(values, sigma), abs=1e-12)
