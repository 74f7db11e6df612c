"""The task: find the ranks of the Conv-LoRA modules that adapt SAM best to two domains it never saw.

python -m search.run --task sam --budget 60
python -m search.run --task sam --budget 60 --task-option evaluation=train      the paper's: a short training a code
python -m search.run --task sam --task-option max_parameters=150000            within a budget of weights
python -m search.run --task sam --task-option model=facebook/sam-vit-huge --task-option data=datasets \\
    --task-option evaluation=train
"""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

from search.errors import UserError, did_you_mean
from search.files import cache_folder
from search.tasks.base import Result, Task
from search.tasks.recipes import named
from search.tasks.sam.recipe import RECIPES
from search.tasks.sam.space import EMBEDDED, PUBLISHED, Encoder, adapter_parameters, ranks, sam_space
from search.tasks.training import locked

REAL = ("kvasir", "isic2017")  # settings of search.tasks.sam.datasets, in the order of the generated domains
OBJECTIVE = ("S", "IoU")  # one metric a domain; the paper gives no weights, so their mean


class Sam(Task):
    """Ranks of Conv-LoRA modules, in the embedded model (default) or in a published checkpoint.

    evaluation: nested (one set of adapters of rank 24, trained once; codes are only validated) or train (the paper's).
    metric: score (mean of the S-measure of polyps and the Jaccard index of lesions, percent; the default of published
        models) or loss (on the same pictures; the default of the embedded one, whose nested adapters rank codes by it
        much more as their own adapters do).
    model, data: a published checkpoint and the folder of the data sets (search.tasks.sam.datasets).
    max_parameters: codes whose adapters have more weights are not evaluated.
    pictures: validation pictures a domain (0: all there are).
    blocks, width: of the embedded model.
    recipe, steps, epochs, batch, lr, decoder, precision: of the adaptation.
    pretrain_steps: of the embedded model.
    threads: of torch in this process; 1 lets several workers run side by side.
    """

    name = "sam"
    controls = ("random", "evolution")

    def __init__(
        self,
        *,
        evaluation: str = "nested",
        metric: str | None = None,
        model: str | None = None,
        data: str | None = None,
        max_parameters: Any = None,
        pictures: Any = None,
        blocks: Any = EMBEDDED.blocks,
        width: Any = EMBEDDED.width,
        recipe: str | None = None,
        steps: Any = None,
        epochs: Any = None,
        batch: Any = None,
        lr: Any = None,
        decoder: Any = None,
        precision: str | None = None,
        pretrain_steps: Any = None,
        threads: Any = 1,
        device: str = "auto",
    ):
        metric = metric or ("loss" if model is None else "score")
        for option, value, known in (
            ("evaluation", evaluation, ("nested", "train")),
            ("metric", metric, ("score", "loss")),
        ):
            if value not in known:
                raise did_you_mean(option, value, known)
        if (model is None) != (data is None):
            raise UserError(
                f"model={model} data={data} were given - a published model is adapted to published data sets, the"
                " embedded one to generated pictures - give both or neither"
            )
        self.evaluation, self.metric, self.direction = (
            evaluation,
            metric,
            "maximize" if metric == "score" else "minimize",
        )
        self.model_name, self.data = model, Path(data) if data else None
        default = evaluation if model is None else "proxy"
        given = {"steps": steps, "epochs": epochs, "batch": batch, "lr": lr, "decoder": decoder, "precision": precision}
        self.recipe = named(recipe or default, RECIPES, given)
        self.pretrain = named("pretrain", RECIPES, {"steps": pretrain_steps})
        self.encoder = self._encoder(_whole("blocks", blocks), _whole("width", width))
        self.space = sam_space(self.encoder.blocks)
        self.limit = None if max_parameters is None else _whole("max_parameters", max_parameters)
        self._check_limit()
        least, usual = (1, 256) if model is None else (0, 0)  # with 256 a domain the loss of two halves agrees
        self.count = usual if pictures is None else _whole("pictures", pictures, least)
        self.threads, self.device = _whole("threads", threads), device
        self._ready = False
        self._known: dict[tuple[str, str], dict[str, float]] = {}

    def _encoder(self, blocks: int, width: int) -> Encoder:
        if self.model_name is None:
            if blocks % 4 or width % 4:
                raise UserError(f"blocks={blocks} width={width} were given - multiples of 4 are needed")
            return Encoder(blocks, width, self.recipe.experts)
        if self.model_name in PUBLISHED:
            known = PUBLISHED[self.model_name]
            return Encoder(known.blocks, known.width, self.recipe.experts)
        from search.tasks.sam.model import shape_of

        return Encoder(*shape_of(self.model_name), self.recipe.experts)

    def _check_limit(self) -> None:
        least = adapter_parameters("0" * len(self.space), self.encoder)
        if self.limit is not None and self.limit < least:
            raise UserError(
                f"max_parameters={self.limit} was given - uniform rank 3 has {least} weights already - raise it"
            )

    def prepare(self, progress: bool = True) -> None:
        """The model, its nested adapters and the pictures: from the cache, or made now."""
        if self._ready:
            return
        import torch

        from search.tasks.sam import cache
        from search.tasks.training import open_place

        torch.set_num_threads(self.threads)
        self.place = open_place(self.device)
        self._read_pictures()
        with locked(cache.root()):
            if self.model_name is None:
                self.base = cache.embedded(self.pretrain, self.encoder.blocks, self.encoder.width, self.place, progress)
            else:
                from search.tasks.sam.model import published

                self.base = published(self.model_name).to(self.place.device).eval()
            if self.evaluation == "nested":
                made_from = [self.model_name or self.pretrain.identity(), self.encoder.width, self.about_pictures]
                base = copy.deepcopy(self.base)
                self.adapted = cache.nested(base, self.source, self.recipe, made_from, self.place, progress)
        self._ready = True

    def _read_pictures(self) -> None:
        """Where training pictures come from, and what is validated and tested on: {domain: pictures}."""
        from search.tasks.sam.datasets import GENERATED, Mixed, generated, open_setting

        self.held: dict[str, dict[str, Any]]
        if self.data is None:
            setting = generated(self.count)
            self.source: Any = setting.train
            self.held = {"valid": setting.valid, "test": setting.test}
            self.about_pictures: Any = ["generated", *GENERATED]
            return
        settings = {name: open_setting(name, self.data) for name in REAL}
        self.source = Mixed(tuple(s.train for s in settings.values()))
        self.held = {
            split: {name: getattr(s, split)[name].first(self.count) for name, s in settings.items()}
            for split in ("valid", "test")
        }
        self.about_pictures = {name: s.about() for name, s in settings.items()}

    def evaluate(self, code: str, seed: int = 0) -> Result:
        """Validate the code's adapters: cut from the nested ones (the same whatever the seed), or trained now."""
        found = self._measured(self.space.check(code), "valid", seed)
        weights = adapter_parameters(code, self.encoder)
        over = {} if self.limit is None else {"parameters": float(weights - self.limit)}
        rest = {name: value for name, value in found.items() if name != self.metric}
        return Result(found[self.metric], over, rest | {"parameters": weights})

    def feasible(self, code: str) -> bool:
        """Whether the adapters keep within max_parameters."""
        return self.limit is None or adapter_parameters(code, self.encoder) <= self.limit

    def constraints(self, code: str) -> dict[str, float]:
        """How many weights too many the adapters have (<= 0 is feasible)."""
        return {} if self.limit is None else {"parameters": float(adapter_parameters(code, self.encoder) - self.limit)}

    def test(self, code: str) -> float | None:
        """The metric on test pictures."""
        return self._measured(self.space.check(code), "test", 0)[self.metric]

    def _measured(self, code: str, split: str, seed: int) -> dict[str, float]:
        self.prepare(False)
        from search.tasks.sam.measure import measure

        key = (code if self.evaluation == "nested" else f"{code} {seed}", split)
        if key not in self._known:
            model = self._model(code, seed)
            for name in ("valid", "test") if self.evaluation == "train" else (split,):
                self._known[key[0], name] = measure(model, self.held[name], OBJECTIVE, self.recipe, self.place)
        return self._known[key]

    def _model(self, code: str, seed: int) -> Any:
        from search.tasks.sam.cache import ADAPTERS_SEED
        from search.tasks.sam.model import add_adapters, cut
        from search.tasks.sam.train import train

        if self.evaluation == "nested":
            cut(self.adapted, ranks(code))
            return self.adapted
        model = add_adapters(copy.deepcopy(self.base), ranks(code), self.recipe.experts, ADAPTERS_SEED)
        train(model, self.source, self.recipe, seed, place=self.place)
        return model

    def epilogue(self, best: str) -> str:
        """The winner's ranks as a picture and in figures, and the commands that train it long and score it."""
        from search.tasks.sam.picture import bars, draw

        path = draw(best, cache_folder() / "sam" / f"{best}.png")
        found, plain = (self._measured(code, "valid", 0) for code in (best, "0" * len(best)))
        real = f" --model {self.model_name} --data {self.data}" if self.data else ""
        lines = ["rank of each block, first to last:", bars(best), f"as a picture: {path}"]
        for name, code, figures in (("best", best, found), ("uniform rank 3", "0" * len(best), plain)):
            shown = ", ".join(f"{k} {v:.4f}" if k == "loss" else f"{k} {v:.2f}" for k, v in figures.items())
            lines.append(f"{name:15} {shown}; {adapter_parameters(code, self.encoder):,} weights in adapters")
        lines += [
            "to train the best with 5 seeds beside uniform rank 3 and 24, and score them on test pictures:",
            f"  python -m search.tasks.sam.retrain --run RUN{real} --out runs/sam-long",
            f"  python -m search.tasks.sam.score --run runs/sam-long{f' --data {self.data}' if self.data else ''}",
        ]
        return "\n".join(lines)

    def describe(self) -> dict[str, Any]:
        facts: dict[str, Any] = {
            "evaluation": self.evaluation,
            "model": self.model_name or f"embedded, {self.encoder.blocks} blocks of width {self.encoder.width}",
            "recipe": self.recipe.identity(),
            "max_parameters": self.limit,
            "baseline": "0" * len(self.space),
            "controls": list(self.controls),
        }
        if self._ready:
            facts["pictures"] = self.about_pictures
            facts["validated"] = {name: len(p) for name, p in self.held["valid"].items()}
        return super().describe() | facts


def _whole(name: str, value: Any, least: int = 1) -> int:
    try:
        number = int(value)
    except (TypeError, ValueError):
        number = least - 1
    if number < least:
        raise UserError(f"{name}={value} was given - a whole number of at least {least} is needed")
    return number
