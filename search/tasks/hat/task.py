"""The task: find the sub-transformer of lowest validation loss, with inherited weights, within a latency limit.

python -m search.run --task hat --budget 60
python -m search.run --task hat --latency-limit 12 --task-option space=wmt-space0
python -m search.run --task hat --task-option data=data/iwslt14 --task-option recipe=iwslt14 \\
    --task-option supernet=runs/hat/supernet
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np

from search.errors import UserError
from search.tasks.base import Result, Task
from search.tasks.hat import cache
from search.tasks.hat.corpus import SIZES
from search.tasks.hat.latency import Predictor, fit, read_tables, timings, trimmed
from search.tasks.hat.recipe import get_recipe
from search.tasks.hat.space import features, hat_space, parameters, to_arch
from search.tasks.training import device_name, locked

PROBES = 2000  # random sub-transformers that show what a limit removes: a share to the nearest per cent
MEASURED_AT_MOST = 3  # a burst of other work passes; a machine that is never quiet does not


class Hat(Task):
    """HAT on the embedded corpus (default) or on a prepared corpus folder and its supernet.

    latency_limit: ms (default: the `latency_quantile` of predicted latencies of 2,000 random sub-transformers, so seven
        tenths of the space are too slow).
    latency_csv and latency_table: predict from a table in HAT's columns, for example iwslt14deen/gpu_titanxp, instead
        of measuring this device.
    measure and repeats: how many sub-transformers are measured, and how often each.
    sentences: size of the validation subset.
    data and supernet: folders of a real corpus.
    recipe, space, reduce, updates, precision: of the supernet.
    """

    name = "hat"
    direction = "minimize"
    metric = "validation loss"
    controls = ("random", "evolution")

    def __init__(
        self,
        *,
        space: str | None = None,
        reduce: Any = None,
        data: str | None = None,
        supernet: str | None = None,
        recipe: str = "embedded",
        updates: Any = None,
        precision: str | None = None,
        latency_limit: Any = None,
        latency_quantile: Any = 0.3,
        latency_csv: str | None = None,
        latency_table: str | None = None,
        measure: Any = 36,
        repeats: Any = 20,
        sentences: Any = 200,
        train_sentences: Any = SIZES["train"],
        merges: Any = 1000,
        device: str = "auto",
        latency_error: Any = 0.25,
    ):
        self.recipe = get_recipe(recipe, {"space": space, "reduce": reduce, "updates": updates, "precision": precision})
        self.space = hat_space(self.recipe.space, self.recipe.reduce)
        if supernet and not data:
            raise UserError(
                f"supernet={supernet} was given without data - a supernet belongs to the corpus it was trained on - add"
                " data=FOLDER"
            )
        self.data, self.supernet = (Path(p) if p else None for p in (data, supernet))
        self.limit = None if latency_limit is None else _number("latency_limit", latency_limit, 0)
        self.quantile = _number("latency_quantile", latency_quantile, 0)
        if self.quantile > 1:
            raise UserError(
                f"latency_quantile={self.quantile} was given - between 0 and 1 is needed, 0.3 keeps the fastest three"
                " tenths"
            )
        self.measured = int(_number("measure", measure, 9))
        self.repeats = int(_number("repeats", repeats, 0))
        self.error = _number("latency_error", latency_error, 0)
        self.sentences = int(_number("sentences", sentences, 0))
        train = int(_number("train_sentences", train_sentences, 0))
        held = min(SIZES["valid"], max(self.sentences, train // 16))
        self.sizes = {"train": train, "valid": held, "test": held}
        self.merges = int(_number("merges", merges, 0))
        self.latency_csv, self.latency_table = latency_csv, latency_table
        self.device = device
        self._ready = False
        self._latency: dict[str, float] = {}
        self._loss: dict[str, float] = {}

    def prepare(self, progress: bool = True) -> None:
        """Corpus, supernet, latency predictor and limit: from the cache, or made now (about 5 minutes on 2 quiet
        cores).
        """
        if self._ready:
            return
        from search.tasks.hat.data import load
        from search.tasks.hat.supernet import load_supernet, train_supernet
        from search.tasks.training import open_place

        say = (lambda text: print(f"hat: {text}", file=sys.stderr, flush=True)) if progress else (lambda text: None)
        self.device = open_place(self.device).device
        with locked(cache.root()):
            self.corpus = load(self.data or cache.corpus_folder(self.sizes, self.merges))
            say(f"corpus {self.corpus.about['name']}, {len(self.corpus.splits['train'])} training sentences")
            folder = self.supernet or cache.supernet_folder(self.corpus, self.recipe)
            if not self.supernet and not cache.trained(folder, self.recipe):
                say(f"training the supernet, {self.recipe.updates} updates, kept in {folder}")
                train_supernet(self.corpus, self.recipe, folder, self.device, progress)
            _, self.model = load_supernet(self.corpus, folder, self.recipe)
            self.model.to(self.device)
            self.predictor, self.source = self._predictor(say, progress)
        self._batches = {name: self._split(name) for name in ("valid", "test")}
        sample = self.space.to_codes(self.space.sample(np.random.default_rng(0), PROBES))
        predicted = self.predictor(features(self.space, sample))
        if self.limit is None:
            self.limit = float(np.ceil(np.quantile(predicted, self.quantile) * 100) / 100)
        self.removed = int((predicted > self.limit).sum())
        self._ready = True
        say(self._binding())
        if self.removed == PROBES:
            raise UserError(
                f"latency limit {self.limit:g} ms was given - the fastest of {PROBES} random sub-transformers needs"
                f" {predicted.min():.1f} ms - raise it"
            )

    def evaluate(self, code: str, seed: int = 0) -> Result:
        """Validation loss (nats per token) of the sub-transformer with inherited weights; the same whatever the
        seed.
        """
        self.prepare(False)
        latency = self.latency(code)
        if latency > self.limit:
            raise UserError(
                f"code {code} needs {latency:.1f} ms - the limit is {self.limit:g} ms - candidates are filtered before"
                " they are evaluated"
            )
        arch = to_arch(self.space, code)
        size = parameters(arch, len(self.corpus.source), len(self.corpus.target))
        return Result(
            self._score(code, "valid"), {"latency": latency - self.limit}, {"latency_ms": latency, "parameters": size}
        )

    def latency(self, code: str) -> float:
        """Predicted latency in ms."""
        self.prepare(False)
        key = self.space.canonical(code)
        if key not in self._latency:
            self._latency[key] = float(self.predictor(features(self.space, [key]))[0])
        return self._latency[key]

    def feasible(self, code: str) -> bool:
        """Whether the predicted latency keeps the limit."""
        return self.latency(code) <= self.limit

    def constraints(self, code: str) -> dict[str, float]:
        """How far the predicted latency is above the limit, in ms (<= 0 is feasible)."""
        return {"latency": self.latency(code) - self.limit}

    def test(self, code: str) -> float | None:
        """Loss on the test split with inherited weights."""
        self.prepare(False)
        return self._score(code, "test")

    def epilogue(self, best: str) -> str:
        """The best sub-transformer in words, its loss, predicted and measured latency, and what the limit removed.

        It is called by the code that its trial has, as everywhere else; `retrain` folds inactive digits itself.
        """
        self.prepare(False)
        arch = to_arch(self.space, best)
        lines = [
            f"best sub-transformer {best}",
            f"  {arch.describe()}",
            (
                f"  {parameters(arch, len(self.corpus.source), len(self.corpus.target)):,} weights, "
                f"validation loss {self._score(best, 'valid'):.4f} nats/token with inherited weights"
            ),
            f"  latency {self.latency(best):.2f} ms predicted ({self.source}){self._measured(arch)}",
            self._binding(),
            (
                f"to train it from scratch: python -m search.tasks.hat.retrain --code {best} "
                f"--data {self.corpus.folder} --recipe {self.recipe_for_retraining()}"
            ),
        ]
        return "\n".join(lines)

    def recipe_for_retraining(self) -> str:
        """The recipe that trains a sub-transformer of this task from scratch, with this task's space."""
        base = "embedded-sub" if self.recipe.reduce > 1 else "iwslt14-sub"
        return f"{base} --space {self.recipe.space} --reduce {self.recipe.reduce}"

    def describe(self) -> dict[str, Any]:
        facts = {"recipe": self.recipe.identity(), "latency_limit_ms": self.limit, "controls": list(self.controls)}
        if self._ready:
            facts |= {
                "corpus": self.corpus.about,
                "latency_source": self.source,
                "latency_removes": self.removed / PROBES,
                "sentences": self.sentences,
            }
        return super().describe() | facts

    def _binding(self) -> str:
        return (
            f"latency limit {self.limit:g} ms removes {self.removed} of {PROBES} random candidates"
            f" ({self.removed / PROBES:.0%}) before evaluation"
        )

    def _split(self, name: str) -> list:
        split = self.corpus.subset(name, self.sentences)
        return [split.batch(rows).to(self.device) for rows in split.groups(2 * self.recipe.max_tokens)]

    def _score(self, code: str, split: str) -> float:
        from search.tasks.hat.train import validation_loss

        key = f"{split} {self.space.canonical(code)}"
        if key not in self._loss:
            self._loss[key] = validation_loss(self.model, self._batches[split], to_arch(self.space, code))
        return self._loss[key]

    def _predictor(self, say, progress: bool) -> tuple[Predictor, str]:
        if self.latency_csv:
            tables = {table.name: table for table in read_tables(Path(self.latency_csv))}
            name = self.latency_table or next(iter(tables))
            if name not in tables:
                raise UserError(
                    f"latency_table={name} was given - {self.latency_csv} has {', '.join(tables)} - choose one of them"
                )
            return fit(tables[name].x, tables[name].y), f"fitted to {name}, {len(tables[name].y)} rows"
        say(f"latency on {device_name(self.device)}, {self.measured} sub-transformers")
        words = (len(self.corpus.source), len(self.corpus.target))
        for attempt in range(MEASURED_AT_MOST):
            path = cache.latency_table(self.space, words, self.device, self.measured, self.repeats, progress)
            table = read_tables(path)[0]
            predictor = fit(table.x, table.y)
            error = float(np.median(np.abs(predictor(table.x) - table.y) / table.y))
            if error <= self.error:
                name = device_name(self.device)
                return predictor, f"fitted to {len(table.y)} measurements on {name}, median error {error:.1%}"
            path.unlink()
            say(f"the latencies fit no predictor: median error {error:.0%}; attempt {attempt + 1}")
        raise UserError(
            f"latency was measured {MEASURED_AT_MOST} times and predicts with a median error of {error:.0%} - at most"
            f" {self.error:.0%} is trusted with a limit - let other programs end, measure more (--task-option"
            " repeats=60), give a published table (latency_csv=FILE), or take it as it is (latency_error=1)"
        )

    def _measured(self, arch) -> str:
        if self.latency_csv:
            return ""
        from search.tasks.hat.model import cut

        encoder, decoder, *_ = trimmed(timings(cut(self.model, arch), self.repeats, device=self.device))
        self.model.to(self.device)
        return f", {encoder + decoder:.2f} ms measured now"


def _number(name: str, value: Any, above: float) -> float:
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = float("nan")
    if not number > above:
        raise UserError(f"{name}={value} was given - a number above {above} is needed")
    return number
