"""The picture of a report: best value and regret against the number of evaluations, one row a section.

Needs matplotlib.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

import numpy as np

from search.reports.charts import ZERO_ROOM, regret_axis
from search.reports.curves import Run, Section, band

COLOURS = ("#0b6e99", "#c4472b", "#4b8b3b", "#8a5aa8", "#c58a00", "#5b6770", "#d1699b", "#2fa39a", "#7a5230", "#3d4fc4")
STEPS = "steps-post"  # a best value holds until a better one is found
BASELINE_LABELS = {"random", "oracle", "random-ranker", "oracle-ranker"}


def draw(sections: Sequence[Section], dpi: int = 140) -> bytes:
    """PNG bytes.

    Left: mean best value with its 95 % bootstrap band; right: regret on a log axis where the optimum is known.
    """
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    style = {
        "font.size": 10,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.edgecolor": "#8a9299",
        "axes.labelcolor": "#30363b",
        "xtick.color": "#4a5258",
        "ytick.color": "#4a5258",
        "axes.grid": True,
        "grid.color": "#e6e9ec",
        "grid.linewidth": 0.8,
        "axes.axisbelow": True,
    }
    with plt.rc_context(style):
        figure, axes = plt.subplots(
            len(sections), 2, figsize=(12, 4.6 * len(sections)), squeeze=False, layout="constrained"
        )
        for section, (left, right) in zip(sections, axes, strict=True):
            _values(left, section)
            if section.optimum is None:
                right.set_visible(False)
            else:
                _regret(right, section)
            _legend(left, section)
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png", dpi=dpi, metadata={"Software": None})
        plt.close(figure)
    return buffer.getvalue()


def _ordered(section: Section) -> list[tuple[Run, str, np.ndarray]]:
    """Runs with their colours and curves; those compared come last so that they lie on top."""
    rows = [(run, COLOURS[i % len(COLOURS)], run.anytime()) for i, run in enumerate(section.runs)]
    return sorted(rows, key=lambda row: not row[0].control)


def _line(
    axis: Any, run: Run, colour: str, curves: np.ndarray, drawn: tuple[np.ndarray, np.ndarray, np.ndarray]
) -> None:
    """Solid where every seed takes part, dotted where fewer do; the band is the interval of the mean."""
    mean, low, high = drawn
    x = np.arange(1, len(mean) + 1)
    whole = np.isfinite(curves).all(axis=0)
    dashed = run.control and run.label.split("/")[-1] in BASELINE_LABELS
    width, style = 1.5 if run.control else 2.4, (0, (4, 2)) if dashed else "-"
    axis.plot(x, np.where(whole, mean, np.nan), color=colour, linewidth=width, linestyle=style, drawstyle=STEPS)
    if not whole.all():
        fewer = np.where(whole & np.roll(whole, 1) & np.roll(whole, -1), np.nan, mean)
        axis.plot(x, fewer, color=colour, linewidth=width * 0.8, linestyle=(0, (0.5, 2)), drawstyle=STEPS)
    axis.plot([], [], color=colour, linewidth=width, linestyle=style, label=_label(run))
    axis.fill_between(x, low, high, color=colour, alpha=0.07 if run.control else 0.18, linewidth=0, step="post")
    axis.set_xlim(0, max(len(x) + 1, axis.get_xlim()[1]))


def _label(run: Run) -> str:
    count = len(run.seeds)
    early = sum(seed.stopped for seed in run.seeds)
    ends = f", {early} ended early" if early else ""
    return f"{run.label} ({count} seed{'s' if count != 1 else ''}{ends})".replace("$", r"\$")


def _legend(axis: Any, section: Section) -> None:
    handles, labels = axis.get_legend_handles_labels()
    place = "upper right" if section.direction == "minimize" else "lower right"
    axis.legend(handles[::-1], labels[::-1], loc=place, fontsize=9, frameon=True, framealpha=0.85, edgecolor="none")


def _values(axis: Any, section: Section) -> None:
    lows, highs = [], []
    for run, colour, curves in _ordered(section):
        drawn = band(curves)
        _line(axis, run, colour, curves, drawn)
        settled = drawn[0][min(9, len(drawn[0]) // 4) :]
        if np.isfinite(settled).any():
            lows.append(np.nanmin(settled))
            highs.append(np.nanmax(settled))
    if section.optimum is not None:
        axis.axhline(section.optimum, color="#30363b", linewidth=0.9, linestyle=":")
        side = "bottom" if section.direction == "maximize" else "top"
        axis.annotate(
            "optimum of the table",
            (0.01, section.optimum),
            xycoords=("axes fraction", "data"),
            fontsize=8,
            color="#4a5258",
            va=side,
        )
        lows.append(section.optimum)
        highs.append(section.optimum)
    if lows and max(highs) > min(lows):
        margin = 0.06 * (max(highs) - min(lows))
        axis.set_ylim(min(lows) - margin, max(highs) + margin)
    axis.set_title(
        f"{section.task}: best {section.metric} so far".replace("$", r"\$"), loc="left", fontsize=11, fontweight="bold"
    )
    axis.set_xlabel("evaluations")
    axis.set_ylabel(
        f"{section.metric} ({'lower' if section.direction == 'minimize' else 'higher'} is better)".replace("$", r"\$")
    )


def _regret(axis: Any, section: Section) -> None:
    """Distance of the mean from the optimum on a log axis that is broken at the bottom: exactly 0 has its own row."""
    assert section.optimum is not None
    rows = [(run, colour, curves, band(np.abs(section.optimum - curves))) for run, colour, curves in _ordered(section)]
    means = np.concatenate([drawn[0] for *_, drawn in rows])
    scale = regret_axis([float(m) for m in means if np.isfinite(m)], "")
    place = np.vectorize(scale.place, otypes=[np.float64])
    for run, colour, curves, drawn in rows:
        mean, low, high = (np.where(np.isfinite(d), place(np.nan_to_num(d)), np.nan) for d in drawn)
        _line(axis, run, colour, curves, (mean, low, high))
    axis.set_ylim(0, 1.02)
    axis.set_yticks([scale.place(value) for value, _ in scale.ticks], [label for _, label in scale.ticks])
    if scale.ticks[0][0] == 0:
        axis.axhline(0.7 * ZERO_ROOM, color="#8a9299", linewidth=0.9, linestyle=(0, (1, 3)))
        text = "0: every seed found the optimum"
        spot = {"xycoords": ("axes fraction", "data"), "xytext": (0, 3), "textcoords": "offset points"}
        axis.annotate(text, (0.01, scale.place(0)), fontsize=8, color="#4a5258", **spot)
    axis.set_title("regret: distance of the mean from the optimum", loc="left", fontsize=11, fontweight="bold")
    axis.set_xlabel("evaluations")
    axis.set_ylabel(f"regret in {section.metric}".replace("$", r"\$"))
