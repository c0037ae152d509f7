from __future__ import annotations

import re
from xml.etree import ElementTree

import numpy as np
import pytest

from synctalk.evaluation.svg import HEIGHT, MAX_POINTS, WIDTH, Level, Line, plot, ticks


def paths(figure: str) -> list[str]:
    """Path data of the curves."""
    root = ElementTree.fromstring(figure)
    found = root.iter("path")
    return [p.attrib["d"] for p in found if p.attrib["class"].startswith("line")]


def test_a_plot_is_well_formed_and_stays_in_its_frame() -> None:
    x = np.linspace(0, 3, 30)
    figure = plot(
        [Line("a < b", x, np.sin(x), "c1")], "s", "dB", shaded=(1, 2), level=Level("goal", 4.0)
    )
    numbers = np.array(re.findall(r"[ML]([-\d.]+) ([-\d.]+)", paths(figure)[0]), float)
    assert len(numbers) == 30
    assert (numbers >= 0).all()
    assert (numbers <= [WIDTH, HEIGHT]).all()
    assert np.argmin(numbers[:, 1]) == np.argmax(np.sin(x))  # up is up
    assert "a &lt; b" in figure


def test_missing_values_interrupt_the_curve() -> None:
    y = np.array([1.0, 2.0, np.nan, 3.0, 4.0])
    data = paths(plot([Line("a", np.arange(5.0), y, "c1")], "s", "dB"))[0]
    assert (data.count("M"), data.count("L")) == (2, 2)


@pytest.mark.parametrize("y", [[np.nan, np.nan], [5.0, 5.0], [5.0]])
def test_degenerate_curves_still_make_a_plot(y: list[float]) -> None:
    figure = plot([Line("a", np.arange(float(len(y))), np.array(y), "c1")], "s", "dB")
    assert "nan" not in figure
    ElementTree.fromstring(figure)


def test_long_curves_are_thinned_but_keep_their_spikes() -> None:
    y = np.zeros(20_000)
    y[12_345] = 7.0
    data = paths(plot([Line("a", np.arange(20_000.0), y, "c1")], "s", "dB"))[0]
    heights = np.array(re.findall(r"[ML][-\d.]+ ([-\d.]+)", data), float)
    assert len(heights) <= MAX_POINTS
    assert heights.min() < heights.max() - 100


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [(0, 10, [0, 2, 4, 6, 8, 10]), (33.1, 34.2, [33.2, 33.4, 33.6, 33.8, 34, 34.2])],
)
def test_ticks_are_round_numbers(low: float, high: float, expected: list[float]) -> None:
    assert ticks(low, high) == pytest.approx(expected)
