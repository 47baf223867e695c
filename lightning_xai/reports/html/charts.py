"""Charts as SVG text, drawn in colours that the page's style sheet knows for light, dark and paper."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

WIDTH, HEIGHT = 420, 240
_LEFT, _RIGHT, _TOP, _BOTTOM = 48, 12, 12, 34
_MOST_COLOURS = 6
_MOST_TICKS = 6


@dataclass(frozen=True)
class Mark:
    """A value of a curve, or of an epoch in a scatter.

    Attributes:
        x: Epoch, or accuracy.
        y: Value.
        error: Standard error of the value; NaN if unknown.
    """

    x: float
    y: float
    error: float = math.nan


@dataclass(frozen=True)
class Curve:
    """Values over epochs, or over another value.

    Attributes:
        name: As a legend says it.
        marks: In the order in which they are connected.
    """

    name: str
    marks: Sequence[Mark]


def line_chart(curves: Sequence[Curve], title: str) -> str:
    """Return an SVG of curves with bands of one standard error; its text alternative names first and last values."""
    curves = [curve for curve in curves if curve.marks]
    xs = [mark.x for curve in curves for mark in curve.marks]
    ends = [mark.y + sign * _known(mark.error) for curve in curves for mark in curve.marks for sign in (-1, 1)]
    plane = _Plane(_span(xs, whole=True), _span(ends))
    parts = [plane.axes("epoch")]
    for index, curve in enumerate(curves):
        colour = f"c{index % _MOST_COLOURS}"
        parts.append(_band(plane, curve, colour))
        parts.append(_line(plane, curve, colour))
        parts.extend(_dot(plane, mark, colour) for mark in curve.marks)
    return _svg(parts, title, _in_words(curves, "epoch"))


def scatter(curve: Curve, title: str, x_label: str, epochs: Sequence[int]) -> str:
    """Return an SVG of one mark per epoch, connected in the order of time; the last epoch is filled."""
    marks = curve.marks
    ends = [mark.y + sign * _known(mark.error) for mark in marks for sign in (-1, 1)]
    plane = _Plane(_span([mark.x for mark in marks]), _span(ends))
    parts = [plane.axes(x_label), _line(plane, curve, "path")]
    for place, mark in enumerate(marks):
        x, low, high = (
            plane.x(mark.x),
            plane.y(mark.y - _known(mark.error)),
            plane.y(mark.y + _known(mark.error)),
        )
        parts.append(f'<line class="error" x1="{x:.1f}" y1="{low:.1f}" x2="{x:.1f}" y2="{high:.1f}"/>')
        parts.append(_dot(plane, mark, "c0" if place == len(marks) - 1 else "c0 hollow"))
    named = {0, len(marks) - 1}
    parts.extend(_name(plane, marks[place], f"epoch {epochs[place]}") for place in sorted(named))
    return _svg(parts, title, _in_words([curve], x_label))


@dataclass(frozen=True)
class _Plane:
    """Where values stand on the drawing."""

    across: tuple[float, float, list[float]]
    up: tuple[float, float, list[float]]

    def x(self, value: float) -> float:
        """Return pixels from the left."""
        low, high, _ = self.across
        return _LEFT + (value - low) / (high - low) * (WIDTH - _LEFT - _RIGHT)

    def y(self, value: float) -> float:
        """Return pixels from the top."""
        low, high, _ = self.up
        return HEIGHT - _BOTTOM - (value - low) / (high - low) * (HEIGHT - _TOP - _BOTTOM)

    def axes(self, x_label: str) -> str:
        """Return ticks and numbers of both axes, and what the lower one shows."""
        parts = []
        for tick in self.up[2]:
            y = self.y(tick)
            parts.append(f'<line class="grid" x1="{_LEFT}" y1="{y:.1f}" x2="{WIDTH - _RIGHT}" y2="{y:.1f}"/>')
            parts.append(f'<text x="{_LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{tick:g}</text>')
        bottom = HEIGHT - _BOTTOM
        for tick in self.across[2]:
            x = self.x(tick)
            parts.append(f'<line class="axis" x1="{x:.1f}" y1="{bottom}" x2="{x:.1f}" y2="{bottom + 4}"/>')
            parts.append(f'<text x="{x:.1f}" y="{bottom + 17}" text-anchor="middle">{tick:g}</text>')
        parts.append(f'<line class="axis" x1="{_LEFT}" y1="{bottom}" x2="{WIDTH - _RIGHT}" y2="{bottom}"/>')
        parts.append(f'<text x="{WIDTH - _RIGHT}" y="{HEIGHT - 3}" text-anchor="end">{escape(x_label)}</text>')
        return "".join(parts)


def _span(values: Sequence[float], *, whole: bool = False) -> tuple[float, float, list[float]]:
    """Return the least and greatest value of an axis, and its ticks, which are round numbers.

    Example:
        >>> _span([0.0, 3.0], whole=True)
        (0.0, 3.0, [0.0, 1.0, 2.0, 3.0])
        >>> _span([0.12, 0.5])
        (0.1, 0.5, [0.1, 0.2, 0.3, 0.4, 0.5])
    """
    low, high = min(values), max(values)
    if high - low < 1e-9:
        low, high = low - 0.5, high + 0.5
    step = 10.0 ** math.floor(math.log10((high - low) / _MOST_TICKS))
    step = next(step * factor for factor in (1, 2, 5, 10, 20) if (high - low) / (step * factor) < _MOST_TICKS)
    if whole:
        step = max(step, 1.0)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    ticks = [round(place * step, 10) for place in range(first, last + 1)]
    return ticks[0], ticks[-1], ticks


def _line(plane: _Plane, curve: Curve, colour: str) -> str:
    points = " ".join(f"{plane.x(mark.x):.1f},{plane.y(mark.y):.1f}" for mark in curve.marks)
    return f'<polyline class="{colour}" points="{points}"/>'


def _band(plane: _Plane, curve: Curve, colour: str) -> str:
    above = [(plane.x(mark.x), plane.y(mark.y + _known(mark.error))) for mark in curve.marks]
    below = [(plane.x(mark.x), plane.y(mark.y - _known(mark.error))) for mark in reversed(curve.marks)]
    points = " ".join(f"{x:.1f},{y:.1f}" for x, y in [*above, *below])
    return f'<polygon class="band {colour}" points="{points}"/>'


def _dot(plane: _Plane, mark: Mark, colour: str) -> str:
    said = f"{mark.x:g}: {mark.y:.3f}" + ("" if math.isnan(mark.error) else f" ± {mark.error:.3f}")
    at = f'cx="{plane.x(mark.x):.1f}" cy="{plane.y(mark.y):.1f}"'
    return f'<circle class="{colour}" {at} r="3.2"><title>{said}</title></circle>'


def _name(plane: _Plane, mark: Mark, text: str) -> str:
    x, y = plane.x(mark.x), plane.y(mark.y)
    anchor, beside = ("end", -7) if x > WIDTH / 2 else ("start", 7)
    return f'<text x="{x + beside:.1f}" y="{y - 6:.1f}" text-anchor="{anchor}">{escape(text)}</text>'


def _svg(parts: Sequence[str], title: str, description: str) -> str:
    return (
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(f"{title}. {description}")}">'
        f"{''.join(parts)}</svg>"
    )


def _in_words(curves: Sequence[Curve], x_label: str) -> str:
    """Return what a chart shows as a sentence per curve."""
    return " ".join(
        f"{curve.name}: {_said(curve.marks[0])} at {x_label} {curve.marks[0].x:.3g}, {_said(curve.marks[-1])} at "
        f"{x_label} {curve.marks[-1].x:.3g}."
        for curve in curves
    )


def _said(mark: Mark) -> str:
    return f"{mark.y:.3f}" + ("" if math.isnan(mark.error) else f" ± {mark.error:.3f}")


def _known(error: float) -> float:
    return error if math.isfinite(error) else 0.0
