"""What a finished search left: its best codes, for those that train them on."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from search.errors import UserError


def best_codes(run: Path, top: int, canonical: Callable[[str], str] = str) -> list[str]:
    """The `top` best different codes of all seeds of a run, best first; controls are not looked at.

    run: the run's folder or that of one seed.
    canonical: maps codes that mean the same to one of them.
    """
    seeds = [run] if (run / "trials.jsonl").is_file() else sorted(run.glob("seed-*"))
    found: list[tuple[float, str]] = []
    for folder in seeds:
        try:
            direction = json.loads((folder / "summary.json").read_text(encoding="utf-8"))["direction"]
            lines = (folder / "trials.jsonl").read_text(encoding="utf-8").splitlines()
            rows = [json.loads(line) for line in lines]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise UserError(
                f"{folder} holds no finished search ({type(error).__name__}) - give a folder like runs/darts"
            ) from error
        sign = 1.0 if direction == "maximize" else -1.0
        found += [(sign * row["value"], row["code"]) for row in rows if row.get("state") == "COMPLETE"]
    if not found:
        raise UserError(f"{run} holds no evaluated architecture - give the folder of a finished search, or --code")
    ordered = [code for _, code in sorted(found, key=lambda pair: -pair[0])]
    different = list({canonical(code): code for code in reversed(ordered)}.values())[::-1]
    return different[:top]
