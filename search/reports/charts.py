"""Curves and scatter plots as inline SVG that follows its container: no library, no picture, nothing to load.

A plot is one SVG stretched over its box (0-1000 by 0-1000, strokes keep their width) with HTML labels at percentages
around it. So text has the page's size at 400 and at 1,600 pixels, colours are the page's own variables in the light and
in the dark, and everything is there without a script; page.js adds the cursor.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

import numpy as np

from search.reports.curves import Run, Section, band, regret
from search.reports.fronts import Front

SIZE = 1000
ZERO_ROOM = 0.14  # share of a regret axis below its smallest decade, where exactly 0 is drawn
PALETTE = 10  # colours of page.css, --c0 to --c9
DASHES = (
    "7 4",
    "14 4",
    "10 3 3 3",
    "4 3",
    "18 4 4 4",
    "9 9",
)  # none that looks like the dots of a mean over fewer seeds
SETTLED = 9  # evaluations of the warm-up that may lie outside the value axis, so that the rest can be told apart


@dataclass(frozen=True)
class Step:
    """A curve from evaluation `at` until the next step: mean, low and high over `seeds` seeds (0: a gap)."""

    at: int
    mean: float
    low: float
    high: float
    seeds: int


@dataclass(frozen=True)
class Curve:
    """A run as drawn.

    last: its last evaluation.
    colour: index into the palette.
    dash: '' for a solid line.
    """

    run: Run
    steps: tuple[Step, ...]
    last: int
    colour: int
    dash: str


@dataclass(frozen=True)
class Axis:
    """place: value -> 0-1 along the axis; ticks: (value, label)."""

    place: Callable[[float], float]
    ticks: tuple[tuple[float, str], ...]
    title: str


def curves_of(section: Section) -> list[Curve]:
    """All runs of a section as step curves, in its order."""
    out, controls = [], 0
    for i, run in enumerate(section.runs):
        dash = DASHES[controls % len(DASHES)] if run.control else ""
        controls += run.control
        out.append(Curve(run, tuple(_steps(run)), run.length, i % PALETTE, dash))
    return out


def values_plot(section: Section, curves: Sequence[Curve], name: str) -> str:
    """Best value so far against evaluations."""
    lows, highs = [], []
    for curve in curves:
        for step, end in zip(curve.steps, _ends(curve)):
            if step.seeds and end > min(SETTLED, curve.last // 4):
                lows.append(step.mean if step.at <= SETTLED else step.low)
                highs.append(step.mean if step.at <= SETTLED else step.high)
    known = [v for v in [*lows, *highs, section.optimum] if v is not None and math.isfinite(v)]
    axis = linear(known, f"{section.metric}, {_better(section)}")
    marks = "" if section.optimum is None else _optimum(axis, section)
    return _plot(section, curves, axis, lambda v: v, marks, name, "values")


def regret_plot(section: Section, curves: Sequence[Curve], name: str) -> str:
    """Distance from the optimum against evaluations: logarithmic, with a row for exactly 0 below a broken axis."""
    optimum = section.optimum
    assert optimum is not None
    means = [regret(optimum, s.mean) for c in curves for s in c.steps if s.seeds]
    axis = regret_axis(means, f"distance from the optimum in {section.metric}")
    broken = f'<path class="break" d="M0 {_n(1 - 0.7 * ZERO_ROOM)}H{SIZE}"/>' if axis.ticks[0][0] == 0 else ""
    return _plot(section, curves, axis, lambda v: regret(optimum, v), broken, name, "regret")


def scatter(front: Front, section: Section, name: str) -> str:
    """All points of a metric pair with the front as a line; the table beside it says the same in words."""
    xs, ys = [p.other for p in front.points], [p.value for p in front.points]
    across = linear(xs, f"{front.metric}, {'lower' if front.lower else 'higher'} is better")
    up = linear(ys, f"{section.metric}, {_better(section)}")

    def dot(x: float, y: float) -> str:
        return f"M{_n(across.place(x))} {_n(1 - up.place(y))}h0"

    every = "".join(dot(p.other, p.value) for p in front.drawn())
    best = sorted(front.best, key=lambda p: p.other)
    places = [(_n(across.place(p.other)), _n(1 - up.place(p.value))) for p in best]
    stairs = f"M{places[0][0]} {places[0][1]}"
    for x1, y1 in places[1:]:
        stairs += f"H{x1}V{y1}" if front.lower else f"V{y1}H{x1}"
    body = (
        f'<path class="dots" d="{every}"/><path class="stairs" d="{stairs}"/>'
        f'<path class="dots best" d="{"".join(dot(p.other, p.value) for p in best)}"/>'
    )
    said = f"{up.title} against {across.title}: {len(front.points)} points, {len(best)} on the front, listed below"
    return _frame(body, across, up, f'role="img" aria-label="{escape(said)}" data-plot="scatter"', name)


def linear(values: Sequence[float], title: str) -> Axis:
    """A linear axis around the values, with ticks at round numbers."""
    from matplotlib.ticker import MaxNLocator

    low, high = (min(values), max(values)) if values else (0.0, 1.0)
    room = 0.06 * (high - low) or max(abs(high), 1e-9) * 0.05
    low, high = low - room, high + room
    ticks = [float(t) for t in MaxNLocator(5, steps=[1, 2, 2.5, 5, 10]).tick_values(low, high) if low <= t <= high]
    gap = ticks[1] - ticks[0] if len(ticks) > 1 else high - low
    labels = [f"{t:,.{_decimals(gap)}f}" if max(abs(low), abs(high)) < 1e7 else f"{t:.3g}" for t in ticks]
    return Axis(lambda v: (v - low) / (high - low), tuple(zip(ticks, labels)), title)


def regret_axis(regrets: Sequence[float], title: str) -> Axis:
    """A logarithmic axis for positive regrets; 0 has its own place at the bottom."""
    positive = [r for r in regrets if r > 0 and math.isfinite(r)]
    low = math.floor(math.log10(min(positive))) if positive else -1
    high = max(math.log10(max(positive)) if positive else 0, low + 1)
    room = ZERO_ROOM if any(r == 0 for r in regrets) else 0.0

    def place(value: float) -> float:
        if value <= 0:
            return room / 4
        return room + (1 - room) * max(0.0, (math.log10(value) - low) / (high - low)) * 0.97

    step = max(1, round((high - low) / 5))
    powers = [float(f"1e{k}") for k in range(low, math.floor(high) + 1, step)]
    between = [m * 10.0**k for k in range(low, math.floor(high) + 1) for m in (2, 5)] if high - low <= 2 else []
    ticks = [t for t in sorted([*powers, *between]) if math.log10(t) <= high]
    zero = [(0.0, "0")] if room else []
    return Axis(place, (*zero, *((t, f"{t:g}") for t in ticks)), title)


def _steps(run: Run) -> list[Step]:
    """The evaluations at which the mean, its interval or the number of seeds changes."""
    curves = run.anytime()
    if not curves.size:
        return []
    mean, low, high = band(curves)
    count = np.isfinite(curves).sum(axis=0)
    table = np.stack([mean, low, high, count])
    change = np.ones(table.shape[1], dtype=bool)
    change[1:] = ~np.isclose(table[:, 1:], table[:, :-1], rtol=0, atol=0, equal_nan=True).all(axis=0)
    return [
        Step(int(i) + 1, float(table[0, i]), float(table[1, i]), float(table[2, i]), int(table[3, i]))
        for i in np.flatnonzero(change)
    ]


def _plot(
    section: Section,
    curves: Sequence[Curve],
    up: Axis,
    read: Callable[[float], float],
    marks: str,
    name: str,
    kind: str,
) -> str:
    """A plot of all curves with a cursor that arrow keys move: a slider over evaluations."""
    last = max((c.last for c in curves), default=1)
    across = Axis(lambda v: v / last, tuple((float(t), f"{t:,}") for t in _evaluations(last)), "evaluations")
    drawn = sorted(enumerate(curves), key=lambda c: not c[1].run.control)
    body = marks + "".join(_curve(i, curve, last, up, read) for i, curve in drawn)
    attributes = (
        f'role="slider" tabindex="0" aria-label="{escape(up.title)}, after so many evaluations" aria-valuemin="1" '
        f'aria-valuemax="{last}" aria-valuenow="{last}" data-plot="{kind}"'
    )
    return _frame(body, across, up, attributes, name)


def _curve(index: int, curve: Curve, last: int, up: Axis, read: Callable[[float], float]) -> str:
    """The band, the line where every seed takes part, and the dotted line where fewer do."""
    total = len(curve.run.seeds)
    whole: list[str] = []
    fewer: list[str] = []
    area: list[Any] = []
    before: tuple[str, str] | None = None
    for step, end in zip(curve.steps, _ends(curve)):
        if not step.seeds:
            before = None
            continue
        x0, x1 = _n(step.at / last), _n(end / last)
        y, low, high = (_n(1 - up.place(read(v))) for v in (step.mean, step.low, step.high))
        start = f"M{before[0]} {before[1]}V{y}" if before else f"M{x0} {y}"
        (whole if step.seeds == total else fewer).append(f"{start}H{x1}")
        if low != high:
            area.append(f"M{x0} {low}H{x1}V{high}H{x0}Z")
        before = (x1, y)
    dash = f' stroke-dasharray="{curve.dash}"' if curve.dash else ""
    kind = "run control" if curve.run.control else "run"
    parts = [f'<path class="band" d="{"".join(area)}"/>'] * bool(area)
    parts += [f'<path class="line"{dash} d="{"".join(whole)}"/>'] * bool(whole)
    parts += [f'<path class="line fewer" d="{"".join(fewer)}"/>'] * bool(fewer)
    return f'<g class="{kind} c{curve.colour}" data-run="{index}">{"".join(parts)}</g>'


def _ends(curve: Curve) -> list[int]:
    """The evaluation up to which each step holds."""
    return [s.at for s in curve.steps[1:]] + [curve.last]


def _frame(body: str, across: Axis, up: Axis, attributes: str, name: str) -> str:
    """The box: grid, drawing, labels left and below."""
    rows = "".join(f"M0 {_n(1 - up.place(t))}H{SIZE}" for t, _ in up.ticks)
    left = "".join(f'<span style="top:{100 * (1 - up.place(t)):.2f}%">{escape(s)}</span>' for t, s in up.ticks)
    below = "".join(f'<span style="left:{100 * across.place(t):.2f}%">{escape(s)}</span>' for t, s in across.ticks)
    width = max((len(label) for _, label in up.ticks), default=1)
    return (
        f'<div class="plot" id="{name}" style="--labels:{width}ch"><p class="up">{escape(up.title)}</p>'
        f'<div class="y" aria-hidden="true">{left}</div><div class="area" {attributes}>'
        f'<svg viewBox="0 0 {SIZE} {SIZE}" preserveAspectRatio="none" aria-hidden="true">'
        f'<path class="grid" d="{rows}"/>{body}</svg><div class="cursor" hidden></div></div>'
        f'<div class="x" aria-hidden="true">{below}</div><p class="across">{escape(across.title)}</p>'
        '<div class="tip" hidden></div></div>'
    )


def _optimum(axis: Axis, section: Section) -> str:
    y = _n(1 - axis.place(section.optimum or 0.0))
    return f'<path class="optimum" d="M0 {y}H{SIZE}"/>'


def _evaluations(last: int) -> list[int]:
    """Ticks of the evaluations: round numbers, and the end unless it would touch the one before."""
    step = next(s for k in range(12) for s in (1 * 10**k, 2 * 10**k, 5 * 10**k) if last / s <= 5)
    ticks = list(range(0, last + 1, step))
    return [t for t in ticks if last - t > 0.35 * step] + [last]


def _better(section: Section) -> str:
    return f"{'lower' if section.direction == 'minimize' else 'higher'} is better"


def _decimals(gap: float) -> int:
    """Decimals that show every tick of this distance as it is."""
    return next((d for d in range(10) if math.isclose(round(gap, d), gap, rel_tol=1e-6)), 10)


def _n(share: float) -> str:
    """A share of an axis as a coordinate, kept near the box so that clipped curves stay short numbers."""
    return f"{SIZE * min(max(share, -3.0), 4.0):.1f}".removesuffix(".0")
