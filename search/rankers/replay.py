"""Replay a ranker from the transcript (ranker.jsonl) of an earlier run: same questions, same answers, no model."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from search.errors import UserError
from search.rankers.base import Context, Ranker, Ranking
from search.spaces import Seen

TRANSCRIPT = "ranker.jsonl"


class ReplayRanker(Ranker):
    """Answers from a transcript. `replay:PATH` names ranker.jsonl or a run folder (then the seed's file is taken)."""

    name = "replay"
    local = False  # it has answers to its own questions only

    def __init__(self, answers: dict[str, Ranking], source: str):
        self.answers, self.source = answers, source
        self.writes = any(r.source.startswith("write ") for r in answers.values())

    @classmethod
    def build(cls, argument: str, context: Context) -> ReplayRanker:
        path = Path(argument)
        choices = [path, path / TRANSCRIPT, path / f"seed-{context.seed}" / TRANSCRIPT]
        found = next((p for p in choices if argument and p.is_file()), None)
        if found is None:
            raise UserError(
                f"ranker replay was given '{argument}' - it needs a transcript ({TRANSCRIPT}) or the folder of a run"
                " that has one"
            )
        return cls(_read(found), str(found))

    def rank(self, history: Sequence[Seen], candidates: Sequence[str]) -> Ranking:
        key = question_key(history, candidates)
        if key not in self.answers:
            raise UserError(
                f"{self.source} has no answer for step {len(history)} - "
                "a replay needs the same task, seed, proposal and warm-up as the run that was recorded"
            )
        return self.answers[key]

    def compose(self, history: Sequence[Seen], allowed: Callable[[str], bool]) -> Ranking:
        return self.rank(history, ())


def question_key(history: Sequence[Seen], candidates: Sequence[str]) -> str:
    """A short hash of everything a ranker sees: told codes with their values, and the candidates."""
    text = json.dumps([[s.code, s.value] for s in history] + list(candidates))
    return hashlib.sha256(text.encode()).hexdigest()[:24]


def _read(path: Path) -> dict[str, Ranking]:
    """Answers by question key; a torn or damaged line is passed over."""
    answers = {}
    for text in path.read_bytes().split(b"\n"):
        try:
            r = json.loads(text)
            scores = None if r["scores"] is None else tuple(r["scores"])
            answers[r["key"]] = Ranking(
                r["best"], scores, r["source"], r["tokens"], r["seconds"], r["fallback"], r.get("info", {})
            )
        except (ValueError, KeyError, TypeError, RecursionError):
            continue
    return answers


def transcript_line(history: Sequence[Seen], candidates: Sequence[str], ranking: Ranking) -> dict[str, Any]:
    """What a ranker was asked and answered, with the key under which `--ranker replay:PATH` finds it again."""
    return {
        "step": len(history),
        "key": question_key(history, candidates),
        "candidates": list(candidates),
        "best": ranking.best,
        "scores": None if ranking.scores is None else list(ranking.scores),
        "source": ranking.source,
        "tokens": ranking.tokens,
        "seconds": round(ranking.seconds, 6),
        "fallback": ranking.fallback,
        **({"info": dict(ranking.info)} if ranking.info else {}),
    }
