"""Parts of the report's page: tables, the winner, the decisions, failed trials, commands. All text is escaped."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

import numpy as np

from search.reports.commands import continue_command, repeat_command
from search.reports.curves import Run, Section
from search.reports.fronts import name_of, shown
from search.reports.headline import Headline
from search.reports.tried import Decided, Option, Tried

WIDE = 40  # characters from which a cell may wrap
WRAPPED = '<td class="wide">'
FAILED_SHOWN = 40
STRONGEST = 55  # per cent of colour in the best option's cell: ink on it stays readable in both themes
WEAK_SKILL = 0.3
LONG_KEYS = ("anytime",)


def table(caption: str, rows: Sequence[Sequence[str]], controls: set[str]) -> str:
    """A sortable table; the first cell of a row is its head."""
    header, *body = rows
    head = "".join(f'<th scope="col">{escape(c)}</th>' for c in header)
    lines = []
    for first, *rest in body:
        kind = ' class="control"' if first.removesuffix(" (control)") in controls else ""
        cells = "".join(f"{WRAPPED if len(c) > WIDE else '<td>'}{escape(c)}</td>" for c in rest)
        lines.append(f'<tr{kind}><th scope="row">{escape(first)}</th>{cells}</tr>')
    return (
        f'<p class="soft">{escape(caption)}</p><div class="scroll" role="group" aria-label="{escape(caption)}" '
        f'tabindex="0"><table class="sortable"><caption class="hidden">{escape(caption)}</caption>'
        f"<thead><tr>{head}</tr></thead><tbody>{''.join(lines)}</tbody></table></div>"
    )


def winner_list(head: Headline) -> str:
    """The winner, one decision a line."""
    best = head.winner or {}
    arch: Any = best.get("arch") if isinstance(best.get("arch"), Mapping) else {"architecture": best.get("arch")}
    lines = "".join(f"<div><dt>{escape(str(k))}</dt><dd>{escape(shown(v))}</dd></div>" for k, v in arch.items())
    code = f"code <code>{escape(str(best['code']))}</code>, " if best.get("code") else ""
    where = f"{head.run.label}, seed {best['seed']}, trial {best.get('number', '–')}"
    return f'<h3>The winner</h3><p class="soft">{code}{escape(where)}</p><dl class="winner">{lines}</dl>'


def decisions(what: Tried, section: Section) -> str:
    """What was tried of each decision as a heat map, the decisions that matter most first where that is known."""
    means = np.array([o.mean for d in what.decisions for o in d.options if o.tried])
    low, high = (float(q) for q in np.quantile(means, [0.1, 0.9]))
    better = -1.0 if section.direction == "minimize" else 1.0
    digits = max(0, section.digits() - 1)
    listed = sorted(what.decisions, key=lambda d: -d.share) if what.explained else what.decisions
    items = "".join(_decision(d, low, high, better, digits) for d in listed)
    return (
        f'<h3>What was tried, and what mattered</h3><p class="soft">{_about(what)}</p><p class="soft">Each option: how '
        f"many of {what.evaluations:,} distinct architectures had it · their mean {escape(section.metric)}. "
        f'Worse <span class="scale" aria-hidden="true"></span> better; framed: the winner\'s.</p>'
        f'<ol class="decisions">{items}</ol>'
    )


def _about(what: Tried) -> str:
    if not what.explained:
        return "Too few evaluations, or too equal ones, to say which decision matters."
    weak = "; that is weak, so do not read much into it" if what.skill < WEAK_SKILL else ""
    return (
        "Importance: a decision's share of the main effects in a ridge regression on one indicator per option, "
        "fitted to everything evaluated; interactions are left out. Its leave-one-out rank correlation with the values "
        f"is {what.skill:.2f}{weak}."
    )


def _decision(decision: Decided, low: float, high: float, better: float, digits: int) -> str:
    share = ""
    if math.isfinite(decision.share):
        width = f"{100 * decision.share:.1f}%"
        share = (
            f'<span class="bar" aria-hidden="true"><span style="width:{width}"></span></span>'
            f'<span class="share"><span class="hidden">importance </span>{100 * decision.share:.0f} %</span>'
        )
    chips = "".join(_chip(o, low, high, better, digits) for o in decision.options)
    return f'<li><p class="name"><span>{escape(decision.name)}</span>{share}</p><ul class="chips">{chips}</ul></li>'


def _chip(option: Option, low: float, high: float, better: float, digits: int) -> str:
    place = (option.mean - low) / (high - low) if high > low else 0.5
    good = min(1.0, max(0.0, place if better > 0 else 1.0 - place)) * STRONGEST
    said = f"tried {option.tried} times, mean {option.mean:.{digits}f}" + ", the winner's" * option.chosen
    kind = ' class="chosen"' if option.chosen else ""
    return (
        f'<li{kind} style="--good:{good:.0f}%">{escape(option.label)} '
        f'<small aria-hidden="true">{option.tried:,} · {option.mean:.{digits}f}</small>'
        f'<span class="hidden">: {said}</span></li>'
    )


def failed_trials(section: Section) -> str:
    """The first failed evaluations one by one."""
    rows = [["run", "seed", "trial", "state", "reason", "architecture"]]
    for run in section.runs:
        for seed in run.seeds:
            good = {i for i, _ in seed.usable()}
            for i, t in enumerate(seed.trials):
                if i not in good and len(rows) <= FAILED_SHOWN:
                    cells = [run.label, seed.seed, str(t.get("number", i)), str(t.get("state", ""))]
                    rows.append([*cells, str(t.get("reason") or ""), name_of(t)])
    shown_rows = f"The first {len(rows) - 1}" if len(rows) > FAILED_SHOWN else "All of them"
    return f"<details><summary>{shown_rows}, one by one</summary>{table('Failed evaluations', rows, set())}</details>"


def command(run: Run) -> str:
    """How to repeat a run and how to go on with it."""
    parts = []
    for what, text in (("Repeat it", repeat_command(run)), ("Continue it", continue_command(run))):
        if text:
            block = f'<div class="command" data-what="{what.lower()}"><pre><code>{_unbroken(text)}</code></pre></div>'
            parts.append(f"<p>{what}:</p>{block}")
    return "".join(parts)


def _unbroken(text: str) -> str:
    """A command whose lines break before an option and never inside one."""
    return " ".join(f"<span>{escape(part)}</span>" for part in re.split(r" (?=--)", text))


def runs_details(section: Section, first: Run) -> str:
    """Every run's command, configuration, versions and checksums, folded."""
    return "".join(_details(run, run is not first) for run in section.runs if run.origin == "run" or run is not first)


def _details(run: Run, commands: bool) -> str:
    """What all seeds of a run share is shown once."""
    name = f"{escape(run.label)}{' (control)' if run.control else ''}"
    summaries = [(s.seed, {k: v for k, v in s.summary.items() if k not in LONG_KEYS}) for s in run.seeds if s.summary]
    text = f"{command(run)}" if commands else ""
    if not summaries:
        why = '<p class="soft">Unfinished: no summary.json yet.</p>' if run.origin == "run" else ""
        return f"<details><summary>{name}</summary>{text}{why}</details>"
    first = summaries[0][1]
    shared = {k: v for k, v in first.items() if all(s.get(k) == v for _, s in summaries)}
    own = {seed: {k: v for k, v in s.items() if k not in shared} for seed, s in summaries}
    each = "\n".join(f"seed {seed}: {_line(v)}" for seed, v in own.items() if v)
    extra = f"<pre>{escape(each)}</pre>" if each else ""
    return (
        f"<details><summary>{name}: configuration, versions, checksums</summary>{text}"
        f"<pre>{escape(json.dumps(shared, indent=1, ensure_ascii=False, default=str))}</pre>{extra}</details>"
    )


def _line(content: Any) -> str:
    return json.dumps(content, ensure_ascii=False, default=str)
