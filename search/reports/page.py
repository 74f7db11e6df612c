"""The report as one self-contained HTML page: picture, tables, then everything needed to repeat the runs.

All text is escaped.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from search.reports.curves import Run, Section

STYLE = """
:root { --ink: #1f2529; --soft: #5d676f; --line: #dfe4e8; --paper: #fbfbfa; --card: #ffffff; --mark: #0b6e99; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e4e8eb; --soft: #9aa5ad; --line: #343c42; --paper: #171b1e; --card: #1f2529; --mark: #62b8dd; }
}
* { box-sizing: border-box; }
body { margin: 0; background: var(--paper); color: var(--ink); font: 16px/1.55 system-ui, -apple-system, "Segoe UI", sans-serif; }
main { max-width: 72rem; margin: 0 auto; padding: 2.5rem 1.25rem 4rem; }
h1 { font-size: 1.7rem; margin: 0 0 .25rem; letter-spacing: -.01em; }
h2 { font-size: 1.2rem; margin: 2.75rem 0 .5rem; }
h3 { font-size: 1rem; margin: 1.75rem 0 .4rem; }
p { margin: .4rem 0; } .soft, figcaption, caption { color: var(--soft); font-size: .9rem; }
figure { margin: 1.5rem 0; } figure img { width: 100%; height: auto; border-radius: 8px; background: #fff; padding: .5rem; }
.scroll { overflow-x: auto; background: var(--card); border: 1px solid var(--line); border-radius: 8px; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; font-size: .92rem; }
th, td { padding: .5rem .8rem; text-align: right; border-bottom: 1px solid var(--line); white-space: nowrap; }
th { font-weight: 600; color: var(--soft); } th:first-child, td:first-child { text-align: left; }
tr:last-child td { border-bottom: 0; } tr.run td:first-child { font-weight: 600; color: var(--mark); }
code, pre { font: .86rem/1.45 ui-monospace, "SF Mono", Menlo, Consolas, monospace; overflow-wrap: anywhere; }
pre { background: var(--card); border: 1px solid var(--line); border-radius: 8px; padding: .8rem 1rem; overflow-x: auto; white-space: pre-wrap; }
details { margin: .5rem 0; } summary { cursor: pointer; color: var(--mark); }
"""
HIDDEN = ("anytime",)


def page(
    title: str,
    sections: Sequence[Section],
    tables: Mapping[str, Sequence[tuple[str, Sequence[Sequence[str]]]]],
    png: bytes,
) -> str:
    """The whole page. tables: section title -> (caption, rows) with a header row first; png: the picture."""
    picture = base64.b64encode(png).decode("ascii")
    many = len(sections) != 1
    body = [f"<h1>{escape(title)}</h1>", f'<p class="soft">{escape(_subtitle(sections))}</p>']
    body.append(
        '<figure><img alt="Best value and regret against evaluations"'
        f' src="data:image/png;base64,{picture}"><figcaption>Mean over seeds; bands are 95 % bootstrap intervals of the'
        " mean. Dashed: controls that know nothing or everything.</figcaption></figure>"
    )
    for section in sections:
        if many:
            body.append(f"<h2>{escape(section.title)}</h2>")
        if section.source:
            body.append(f'<p class="soft">{escape(section.source)}</p>')
        controls = {r.label for r in section.runs if r.control}
        for caption, rows in tables[section.title]:
            body.append(f"<h3>{escape(caption)}</h3>{_table(rows, controls)}")
    body.append("<h2>How to repeat this</h2>")
    body += [_details(run) for section in sections for run in section.runs]
    head = (
        '<meta charset="utf-8"><meta name="viewport" content="width=device-width,'
        f' initial-scale=1"><title>{escape(title)}</title><style>{STYLE}</style>'
    )
    return (
        f'<!doctype html>\n<html lang="en"><head>{head}</head><body><main>\n'
        + "\n".join(body)
        + "\n</main></body></html>\n"
    )


def _subtitle(sections: Sequence[Section]) -> str:
    runs = [r for s in sections for r in s.runs]
    seeds = sum(len(r.seeds) for r in runs)
    trials = sum(len(s.trials) for r in runs for s in r.seeds)
    return (
        f"{len(sections)} task{'s' * (len(sections) != 1)}, {len(runs)} methods, {seeds} searches, {trials:,}"
        " evaluations"
    )


def _table(rows: Sequence[Sequence[str]], controls: set[str]) -> str:
    header, *body = rows
    cells = ["<tr>" + "".join(f"<th>{escape(c)}</th>" for c in header) + "</tr>"]
    for row in body:
        kind = "" if row[0] in controls or row[0].removesuffix(" (control)") in controls else ' class="run"'
        cells.append(f"<tr{kind}>" + "".join(f"<td>{escape(c)}</td>" for c in row) + "</tr>")
    return f'<div class="scroll"><table>{"".join(cells)}</table></div>'


def _details(run: Run) -> str:
    """Configuration, versions and checksums of a run; what all its seeds share is shown once."""
    shown: list[dict[str, Any]] = [
        {k: v for k, v in s.summary.items() if k not in HIDDEN} for s in run.seeds if s.summary
    ]
    if not shown:
        return (
            f"<details><summary>{escape(run.label)}</summary><p class='soft'>Unfinished: no summary.json"
            " yet.</p></details>"
        )
    first = shown[0]
    shared = {k: v for k, v in first.items() if all(s.get(k) == v for s in shown)}
    own = {
        seed.seed: {k: v for k, v in s.items() if k not in shared}
        for seed, s in zip((x for x in run.seeds if x.summary), shown, strict=True)
    }
    text = escape(json.dumps(shared, indent=1, ensure_ascii=False, default=str))
    per_seed = escape(
        "\n".join(f"seed {seed}: {json.dumps(v, ensure_ascii=False, default=str)}" for seed, v in own.items() if v)
    )
    extra = f"<pre>{per_seed}</pre>" if per_seed else ""
    return f"<details><summary>{escape(run.label)}{' (control)' if run.control else ''}</summary><pre>{text}</pre>{extra}</details>"
