"""The report as one self-contained HTML page: the answer, then what it rests on, then how to repeat and continue it.

Nothing is loaded from anywhere and a content policy says so; all text is escaped; without a script only the cursor, the
switches and the sorting are missing.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Any

from search.reports.blocks import command, decisions, failed_trials, runs_details, table, winner_list
from search.reports.charts import Curve, curves_of, regret_plot, scatter, values_plot
from search.reports.compare import MEANS, comparison_rows, failure_rows, front_rows, lengths_text, winner_rows
from search.reports.curves import Section
from search.reports.fronts import Front, fronts
from search.reports.headline import Headline, headline
from search.reports.tried import tried

_NO_RIVAL = {
    True: "No random search ran beside it; with <code>--controls random</code> this line says what the search saved.",
    False: "No random search is there to compare it with.",
}
LABEL = 120  # characters of an architecture in the box beside the pointer
ASSETS = Path(__file__).with_name("assets")


def page(title: str, sections: Sequence[Section]) -> str:
    """The whole page."""
    script = (ASSETS / "page.js").read_text(encoding="utf-8")
    style = (ASSETS / "page.css").read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode("ascii")
    policy = f"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{digest}'"
    many = len(sections) > 1
    body = [f'<h1>{escape(title)}</h1><p class="soft">{escape(_subtitle(sections))}</p>']
    if many:
        links = "".join(f'<li><a href="#s{i}">{escape(s.title)}</a></li>' for i, s in enumerate(sections))
        body.append(f'<nav aria-label="tasks"><ul>{links}</ul></nav>')
    data = []
    for i, section in enumerate(sections):
        curves, found = curves_of(section), fronts(section)
        body.append(_section(i, section, curves, found))
        data.append(_data(section, curves, found))
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{style}</style></head><body><main>\n"
        + "\n".join(body)
        + f'\n</main><script type="application/json" id="data">{_json(data)}</script>'
        + f"<script>{script}</script></body></html>\n"
    )


def _section(index: int, section: Section, curves: Sequence[Curve], found: Sequence[Front]) -> str:
    """One task: answer, winner, curves, comparison, decisions, fronts, failures, commands."""
    head = headline(section)
    parts = [f'<h2 id="h{index}">{escape(section.title)}</h2>', _answer(section, head, found)]
    if head.winner is not None:
        parts.append(winner_list(head))
    parts.append(_plots(index, section, curves))
    controls = {r.label for r in section.runs if r.control}
    parts.append(f"<h3>Run by run</h3>{table(MEANS, comparison_rows(section), controls)}")
    early = [text for run in section.runs if (text := lengths_text(run))]
    if early:
        parts.append(f'<p class="soft">* ended before its budget. {escape("; ".join(early))}.</p>')
    winners = winner_rows(section)
    if len(winners) > 2:
        parts.append(f"<h3>The best of each run</h3>{table('Best architecture of each run', winners, controls)}")
    what = tried(section, head.winner)
    if what is not None:
        parts.append(decisions(what, section))
    for k, front in enumerate(found):
        caption = f"Pareto front of {section.metric} and {front.metric}"
        plot = scatter(front, section, f"s{index}-front{k}").replace("<div ", f'<div data-front="{k}" ', 1)
        rows = table("The points that no other beats in both", front_rows(section, front), controls)
        parts.append(f'<h3>{escape(caption)}</h3><div class="plots">{plot}<div>{rows}</div></div>')
    failed = failure_rows(section)
    if len(failed) > 1:
        parts.append(f"<h3>Evaluations that do not count</h3>{table('By reason', failed, controls)}")
        parts.append(failed_trials(section))
    parts.append(f"<h3>Repeat it, continue it</h3>{command(head.run)}{runs_details(section, head.run)}")
    return (
        f'<section id="s{index}" data-section="{index}" aria-labelledby="h{index}">\n'
        + "\n".join(parts)
        + "\n</section>"
    )


def _answer(section: Section, head: Headline, found: Sequence[Front]) -> str:
    """The card on top."""
    trials = [(len(s.trials), len(s.usable())) for r in section.runs for s in r.seeds]
    total, usable = sum(t for t, _ in trials), sum(u for _, u in trials)
    better = "lower" if section.direction == "minimize" else "higher"
    tiles = [(f"{section.metric} ({better} is better)", head.value)]
    if head.winner is not None:
        tiles.append(("evaluations to find it", str(head.evaluations)))
    if head.saved is not None and head.saved >= 0:
        tiles.append(("evaluations saved against random search", "≥ " * head.at_least + str(head.saved)))
    if head.winner is not None and isinstance(head.winner.get("test"), (int, float)):
        tiles.append(("held-back test of the winner", f"{head.winner['test']:.{head.digits}f}"))
    tiles += [(f"architectures on the front with {f.metric}", str(len(f.best))) for f in found]
    tiles.append(("evaluations failed or infeasible", f"{total - usable:,} of {total:,}"))
    against = escape(_sentence(head.against())) if head.against() else _NO_RIVAL[head.run.origin == "run"]
    if head.beside():
        against += " " + escape(_sentence(head.beside()))
    source = f'<p class="soft">{escape(section.source)}</p>' if section.source else ""
    return (
        f'<div class="answer"><p class="big">{escape(_sentence(head.answer()))}</p>'
        f'<p class="then">{against}</p><dl class="tiles">'
        + "".join(f"<div><dt>{escape(k)}</dt><dd>{escape(v)}</dd></div>" for k, v in tiles)
        + f"</dl></div>{source}"
    )


def _plots(index: int, section: Section, curves: Sequence[Curve]) -> str:
    """Legend with switches, the curves, and the regret where the optimum is known."""
    keys = []
    for i, curve in enumerate(curves):
        run = curve.run
        dash = f' stroke-dasharray="{curve.dash}"' if curve.dash else ""
        keys.append(
            f'<label class="c{curve.colour} {"control" if run.control else ""}"><input type="checkbox" checked '
            f'data-run="{i}"><svg viewBox="0 0 30 10" aria-hidden="true"><path class="line"{dash} d="M1 5H29"/></svg>'
            f"{escape(_legend(curve))}</label>"
        )
    plots = [values_plot(section, curves, f"s{index}-values")]
    plots += [regret_plot(section, curves, f"s{index}-regret")] if section.optimum is not None else []
    about = "Means over seeds; bands are 95 % bootstrap intervals of the mean. Dashed: controls. "
    about += "Dotted: a mean over fewer seeds than the run has. "
    about += "Dotted level: the optimum of the table. " if section.optimum is not None else ""
    return (
        "<h3>Best value so far</h3>"
        f'<fieldset class="legend"><legend>Shown:</legend>{"".join(keys)}</fieldset>'
        f'<div class="plots">{"".join(plots)}</div><p class="soft">{escape(about)}Point at a plot, or go to it '
        "with Tab and move with the arrow keys.</p>"
    )


def _legend(curve: Curve) -> str:
    count = len(curve.run.seeds)
    early = sum(s.stopped for s in curve.run.seeds)
    ends = f", {early} ended early" if early else ""
    return f"{curve.run.label} ({count} seed{'s' * (count != 1)}{ends})"


def _data(section: Section, curves: Sequence[Curve], found: Sequence[Front]) -> dict[str, Any]:
    """What the script reads: numbers rounded to what is shown."""
    digits = section.digits()

    def short(v: float) -> float:
        return float(f"{v:.10g}")

    runs = []
    for c in curves:
        steps = [[s.at, *(short(v) if s.seeds else 0 for v in (s.mean, s.low, s.high)), s.seeds] for s in c.steps]
        about = {"name": c.run.label, "seeds": len(c.run.seeds), "last": c.last, "colour": c.colour}
        runs.append(about | {"steps": steps})
    about = {"optimum": section.optimum, "lower": section.direction == "minimize", "digits": digits, "runs": runs}
    return about | {"fronts": [{"points": _points(section, f)} for f in found]}


def _points(section: Section, front: Front) -> list[list[Any]]:
    """[across, down, head, lines...] of every point, as shares of the plot."""
    from search.reports.charts import linear

    across = linear([p.other for p in front.points], "").place
    up = linear([p.value for p in front.points], "").place
    digits = section.digits()
    return [
        [
            round(across(p.other), 4),
            round(1 - up(p.value), 4),
            f"{section.metric} {p.value:.{digits}f}, {front.metric} {p.other:.6g}",
            p.code if len(p.code) <= LABEL else f"{p.code[: LABEL - 1]}…",
            p.run,
        ]
        for p in front.drawn()
    ]


def _subtitle(sections: Sequence[Section]) -> str:
    runs = [r for s in sections for r in s.runs]
    seeds = sum(len(r.seeds) for r in runs)
    trials = sum(len(s.trials) for r in runs for s in r.seeds)
    counts = ((len(sections), "task"), (len(runs), "method"), (seeds, "search"), (trials, "evaluation"))
    return ", ".join(f"{n:,} {word}{('es' if word == 'search' else 's') * (n != 1)}" for n, word in counts)


def _sentence(text: str) -> str:
    return f"{text[0].upper()}{text[1:]}."


def _json(data: Any) -> str:
    """JSON that cannot end its script element."""
    text = json.dumps(data, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
