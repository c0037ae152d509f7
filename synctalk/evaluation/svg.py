"""Line plots as inline SVG, coloured by the page's CSS so that they follow light and dark."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

import numpy as np
from numpy.typing import NDArray

WIDTH, HEIGHT = 520, 240
LEFT, RIGHT, TOP, BOTTOM = 58, 10, 10, 36
HALF_DIGIT = 3.5
"""Half of a digit's width: labels of ticks at the right edge stay inside."""
MAX_POINTS = 1500

Values = NDArray[np.float64]


@dataclass(frozen=True)
class Line:
    """One curve of a plot.

    Args:
        label: for the legend.
        x, y: [n]; NaN in ``y`` interrupts the curve.
        colour: CSS class that sets the stroke: ``c0`` (grey), ``c1``, ``c2`` or ``c3``.
        dots: mark every point, for curves of few.
    """

    label: str
    x: Values
    y: Values
    colour: str
    dots: bool = False


@dataclass(frozen=True)
class Level:
    """A horizontal line at ``y`` with a text, e.g. the paper's figure."""

    label: str
    y: float


@dataclass(frozen=True)
class _Axes:
    """Data ranges and their places in the picture."""

    x0: float
    x1: float
    y0: float
    y1: float

    def at(self, x: Values | float, y: Values | float) -> tuple[Values, Values]:
        """Picture coordinates of data."""
        u = LEFT + (np.asarray(x, float) - self.x0) / (self.x1 - self.x0) * (WIDTH - LEFT - RIGHT)
        v = (
            HEIGHT
            - BOTTOM
            - (np.asarray(y, float) - self.y0) / (self.y1 - self.y0) * (HEIGHT - BOTTOM - TOP)
        )
        return u, v


def plot(
    lines: Sequence[Line],
    x_label: str,
    y_label: str,
    *,
    shaded: tuple[float, float] | None = None,
    level: Level | None = None,
) -> str:
    """A ``<figure>`` with a legend and a plot.

    Args:
        lines: curves; may hold NaN, must hold some finite value.
        x_label, y_label: with units.
        shaded: an interval of x to mark (the held-out frames).
        level: a horizontal reference line.
    """
    axes = _axes(lines, level)
    parts = [_shade(axes, shaded) if shaded else "", _grid(axes, x_label, y_label)]
    parts += [_level(axes, level) if level else ""]
    parts += [f'<path class="line {line.colour}" d="{_path(axes, line)}"/>' for line in lines]
    parts += [_dots(axes, line) for line in lines if line.dots]
    names = escape(f"{y_label} over {x_label}: " + ", ".join(line.label for line in lines))
    legend = "".join(
        f'<span><i class="key {line.colour}"></i>{escape(line.label)}</span>' for line in lines
    )
    return (
        f'<figure class="plot"><div class="legend">{legend}</div>'
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{names}">'
        f"{''.join(parts)}</svg></figure>"
    )


def ticks(low: float, high: float, about: int = 5) -> list[float]:
    """Roughly ``about`` round numbers within [low, high]: steps of 1, 2 or 5 times 10^k."""
    raw = (high - low) / about
    magnitude = 10.0 ** math.floor(math.log10(raw))
    step = magnitude * min((1, 2, 5, 10), key=lambda m: abs(math.log(m * magnitude / raw)))
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [round(k * step, 10) for k in range(first, last + 1)]


def _axes(lines: Sequence[Line], level: Level | None) -> _Axes:
    x = np.concatenate([line.x for line in lines])
    y = np.concatenate([line.y[np.isfinite(line.y)] for line in lines])
    if level:
        y = np.append(y, level.y)
    low, high = (float(y.min()), float(y.max())) if len(y) else (0.0, 1.0)
    margin = 0.06 * (high - low) or 1.0
    x0, x1 = float(x.min()), float(x.max())
    return _Axes(x0, x1 if x1 > x0 else x0 + 1, low - margin, high + margin)


def _path(axes: _Axes, line: Line) -> str:
    """SVG path data; a gap starts a new piece."""
    x, y = _thinned(line.x, line.y)
    u, v = axes.at(x, y)
    pieces, pen_down = [], False
    for a, b in zip(u, v, strict=True):
        if not np.isfinite(b):
            pen_down = False
            continue
        pieces.append(f"{'L' if pen_down else 'M'}{a:.1f} {b:.1f}")
        pen_down = True
    return "".join(pieces)


def _dots(axes: _Axes, line: Line) -> str:
    u, v = axes.at(line.x, line.y)
    return "".join(
        f'<circle class="dot {line.colour}" cx="{a:.1f}" cy="{b:.1f}" r="3"/>'
        for a, b in zip(u, v, strict=True)
        if np.isfinite(b)
    )


def _thinned(x: Values, y: Values) -> tuple[Values, Values]:
    """Long curves by the lowest and highest point of every bucket: spikes stay visible."""
    if len(x) <= MAX_POINTS:
        return x, y
    keep: set[int] = set()
    for bucket in np.array_split(np.arange(len(x)), MAX_POINTS // 2):
        known = bucket[np.isfinite(y[bucket])]
        chosen = (known[y[known].argmin()], known[y[known].argmax()]) if len(known) else bucket[:1]
        keep.update(int(i) for i in chosen)
    order = sorted(keep)
    return x[order], y[order]


def _grid(axes: _Axes, x_label: str, y_label: str) -> str:
    out = []
    for value in ticks(axes.y0, axes.y1):
        _, v = axes.at(axes.x0, value)
        out.append(f'<path class="grid" d="M{LEFT} {v:.1f}H{WIDTH - RIGHT}"/>')
        out.append(f'<text x="{LEFT - 6}" y="{v + 4:.1f}" class="end">{value:g}</text>')
    for value in ticks(axes.x0, axes.x1, 7):
        u = float(axes.at(value, axes.y0)[0])
        u = min(u, WIDTH - HALF_DIGIT * len(f"{value:g}"))
        out.append(f'<text x="{u:.1f}" y="{HEIGHT - BOTTOM + 15}" class="mid">{value:g}</text>')
    out.append(f'<path class="axis" d="M{LEFT} {HEIGHT - BOTTOM}H{WIDTH - RIGHT}"/>')
    out.append(f'<text x="{WIDTH - RIGHT}" y="{HEIGHT - 5}" class="end">{escape(x_label)}</text>')
    middle = (HEIGHT - BOTTOM + TOP) / 2
    turn = f'transform="translate(11 {middle}) rotate(-90)"'
    out.append(f'<text {turn} class="mid">{escape(y_label)}</text>')
    return "".join(out)


def _shade(axes: _Axes, span: tuple[float, float]) -> str:
    (a, b), _ = axes.at(np.array(span), axes.y0)
    height = HEIGHT - BOTTOM - TOP
    return f'<rect class="shade" x="{a:.1f}" y="{TOP}" width="{b - a:.1f}" height="{height}"/>'


def _level(axes: _Axes, level: Level) -> str:
    _, v = axes.at(axes.x0, level.y)
    return (
        f'<path class="level" d="M{LEFT} {v:.1f}H{WIDTH - RIGHT}"/>'
        f'<text x="{WIDTH - RIGHT}" y="{v - 4:.1f}" class="end">{escape(level.label)}</text>'
    )
