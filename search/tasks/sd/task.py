"""The task: find the LoRA rank of each of the UNet's 48 groups with which a concept is learned best.

--task sd                                     embedded: base model and concept are made here, no download
--task sd, sd=, clip=, dino=, concept=        Stable Diffusion 1.5 and its judges from folders, the user's pictures
"""

from __future__ import annotations

import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from search.errors import UserError, did_you_mean
from search.tasks.base import Result, Task
from search.tasks.recipes import named
from search.tasks.sd.space import RANKS, lora_parameters, rank_space, ranks_of
from search.tasks.training import key, locked

METRICS = {"score": "maximize", "clip_t": "maximize", "clip_i": "maximize", "identity": "maximize", "loss": "minimize"}
EVALUATIONS = ("nested", "train")


class StableDiffusion(Task):
    """Ranks of 48 groups.

    partition: attn1-attn2-rest (default) or attention-only.
    evaluation: nested (one set of rank-16 weights serves every code) or train (each code learns the concept anew).
    metric: score (the weighted sum of CLIP-T and CLIP-I), clip_t, clip_i, identity, or loss on held-out pictures.
    text, image: weights of the score.
    limit: most LoRA parameters of a code (0: no limit).
    images: pictures of each of the 11 validation prompts. steps, guidance: of sampling.
    recipe, and updates, batch, lr, precision: how the concept is learned.
    toy: which of the embedded concepts. sd, clip, dino, concept, class_word, pixels: the route with
        real weights; held_out: pictures of the concept that `loss` is measured on.
    layers: vectors of a new token: 1, or 16 for one in each block.
    pretrain_steps: most steps of each training of the embedded base model (0: all), for a trial of the route.
    threads: of torch in this process; 1 lets several workers run side by side.
    """

    controls = ("random", "evolution")

    def __init__(
        self,
        partition: str = "attn1-attn2-rest",
        evaluation: str | None = None,
        metric: str = "score",
        text: Any = 0.5,
        image: Any = 0.5,
        limit: Any = 0,
        images: Any = None,
        steps: Any = None,
        guidance: Any = None,
        recipe: str | None = None,
        updates: Any = None,
        batch: Any = None,
        lr: Any = None,
        precision: str | None = None,
        toy: str = "mint",
        sd: str | None = None,
        clip: str | None = None,
        dino: str | None = None,
        concept: str | None = None,
        class_word: str | None = None,
        pixels: Any = 512,
        held_out: Any = 0,
        layers: Any = None,
        pretrain_steps: Any = 0,
        threads: Any = 1,
        device: str = "auto",
    ):
        from search.tasks.sd.prepare import check_packages

        check_packages()
        from search.tasks.sd.concepts import TOYS
        from search.tasks.sd.learn import RECIPES

        self.name, self.partition = "sd", partition
        self.space = rank_space(partition)
        self.real = any((sd, clip, dino, concept))
        if self.real and not all((sd, clip, dino, concept)):
            given = {"sd": sd, "clip": clip, "dino": dino, "concept": concept}
            raise UserError(
                f"{', '.join(k for k, v in given.items() if v)} were given - the route with real weights needs sd,"
                " clip, dino and concept, each a folder - add the others, or leave all out for the embedded base model"
            )
        self.evaluation = evaluation or ("train" if self.real else "nested")
        if self.evaluation not in EVALUATIONS:
            raise did_you_mean("evaluation", self.evaluation, EVALUATIONS)
        if metric not in METRICS:
            raise did_you_mean("metric of task sd", metric, METRICS)
        if toy not in TOYS:
            raise did_you_mean("toy", toy, TOYS)
        self.metric, self.direction = metric, METRICS[metric]
        self.recipe_name = recipe or ("sd15" if self.real else "embedded" + "-nested" * (self.evaluation == "nested"))
        changes = {"steps": updates, "batch": batch, "lr": lr, "precision": precision}
        self.recipe = named(self.recipe_name, RECIPES, changes)
        self.weights = _number("text", text, 0), _number("image", image, 0)
        self.limit = int(_number("limit", limit, 0))
        self.images = int(_number("images", images if images is not None else (8 if self.real else 4), 1))
        self.sampling = int(_number("steps", steps or (50 if self.real else 10), 1))
        self.guidance = _number("guidance", guidance or (7.5 if self.real else 2.0), 1)
        self.layers = int(_number("layers", layers or (16 if self.real else 1), 1))
        if self.layers not in (1, 16):
            raise UserError(f"layers={layers} was given - allowed are 1, and 16: one for each block - choose one")
        self.folders = {"sd": sd, "clip": clip, "dino": dino}
        self.toy, self.concept_folder, self.class_word, self.pixels = toy, concept, class_word, int(pixels)
        self.threads, self.device = int(_number("threads", threads, 1)), device
        self.pretrain_steps = int(_number("pretrain_steps", pretrain_steps, 0))
        self.held_out = int(_number("held_out", held_out, 0))
        if metric == "loss" and self.real and not self.held_out:
            raise UserError("metric=loss was given - it needs pictures that are not trained on - add held_out=3")
        self._ready = False
        self._sizes: dict[str, int] | None = None

    def prepare(self, progress: bool = True) -> None:
        """Base model, concept and, with nested ranks, their one training: from the cache, or made now."""
        if self._ready:
            return
        import torch

        from search.tasks.training import open_place

        torch.set_num_threads(self.threads)
        self.place = open_place(self.device)
        self.base, self.concept = self._base(progress), self._concept()
        if self.evaluation == "nested":
            self.nested = self._nested(progress)
        self._ready = True

    def _base(self, progress: bool) -> Any:
        if not self.real:
            from search.tasks.sd.prepare import default_recipe, embedded_base, shortened

            recipe = shortened(default_recipe(), self.pretrain_steps)
            return embedded_base(recipe, self.layers, progress)
        from search.tasks.sd.base import from_folders

        sd, clip, dino = (Path(str(self.folders[name])) for name in ("sd", "clip", "dino"))
        return from_folders(sd, clip, dino, self.recipe.precision, self.place.device, self.pixels, self.layers)

    def _concept(self) -> Any:
        from search.tasks.sd.concepts import from_folder, scene_concepts

        if self.real:
            return from_folder(Path(str(self.concept_folder)), self.class_word, self.pixels, self.held_out)
        return next(c for c in scene_concepts() if c.name == self.toy)

    def _nested(self, progress: bool) -> Any:
        """The concept's rank-16 weights, trained with a random code's ranks each step; kept in the cache."""
        from search.tasks.sd import store
        from search.tasks.sd.learn import learn
        from search.tasks.sd.prepare import root

        pictures = self.concept.pictures.sum().item(), self.concept.captions
        made_of = key(self.base.about, asdict(self.recipe), self.partition, pictures)
        path = root() / f"nested-{made_of}.safetensors"
        with locked(root()):
            if not path.exists():
                if progress:
                    print(f"sd: nested ranks learn the concept {self.concept.name}, kept in {path}", file=sys.stderr)
                most = ranks_of(self.space, str(len(RANKS) - 1) * len(self.space), self.partition)
                learned = learn(self.base, self.concept, most, self.recipe, 0, self.drawn_ranks, progress=progress)
                store.save(path, learned, {"recipe": asdict(self.recipe), "partition": self.partition})
            return store.load(path)[0]

    def drawn_ranks(self, step: int) -> dict[str, int]:
        """The ranks of a random code, the same for the same step."""
        code = self.space.to_codes(self.space.sample(np.random.default_rng([48, step]), 1))[0]
        return ranks_of(self.space, code, self.partition)

    def learned(self, code: str, seed: int = 0) -> Any:
        """A base model with the concept, at the ranks of a code."""
        self.prepare(False)
        from search.tasks.sd.learn import learn

        ranks = ranks_of(self.space, code, self.partition)
        model = self.base.copied()
        if self.evaluation == "nested":
            self.nested.put_on(model, ranks)
        else:
            learn(self.base, self.concept, ranks, self.recipe, seed).put_on(model)
        return model

    def generated(self, model: Any, images: int | None = None) -> tuple[Any, list[str]]:
        """Pictures of the validation prompts and what each should show, `images` of each prompt."""
        from search.tasks.sd.sample import pictures

        prompts = [p for p in self.concept.valid for _ in range(images or self.images)]
        made = pictures(model, prompts, self.sampling, self.guidance, batch=8 if self.real else 64)
        return made, self.concept.with_class(prompts)

    def evaluate(self, code: str, seed: int = 0) -> Result:
        """Learn the concept (or take its nested ranks), generate pictures and score them."""
        from search.tasks.sd.learn import held_out_loss
        from search.tasks.sd.scores import scores

        self.prepare(False)
        size = self.parameters(code)
        model = self.learned(code, seed)
        made, captions = self.generated(model)
        found = scores(self.base, made, captions, self.concept.pictures)
        info = found.as_dict() | {"score": found.score(*self.weights), "parameters": size}
        if self.concept.held_out:
            info["loss"] = held_out_loss(model, self.concept)
        constraints = {"parameters": float(size - self.limit)} if self.limit else {}
        return Result(info[self.metric], constraints, {k: v for k, v in info.items() if k != self.metric})

    def parameters(self, code: str) -> int:
        """LoRA weights of a code in the UNet."""
        if self._sizes is None:
            self.prepare(False)
            one = {name: 1 for name in ranks_of(self.space, "0" * len(self.space), self.partition)}
            self._sizes = {name: lora_parameters(self.base.unet, {name: 1}) for name in one}
        return sum(rank * self._sizes[name] for name, rank in ranks_of(self.space, code, self.partition).items())

    def feasible(self, code: str) -> bool:
        """Whether the code keeps the limit of LoRA parameters."""
        return not self.limit or self.parameters(code) <= self.limit

    def epilogue(self, best: str) -> str:
        """The winner block by block, its scores beside uniform ranks and the base model, and a contact sheet."""
        from search.tasks.sd.sheet import contact_sheet

        self.prepare(False)
        rows = {"winner": best} | {f"uniform {rank}": str(i) * len(self.space) for i, rank in enumerate(RANKS)}
        lines = [f"best ranks {best}", *_by_block(self.space.decode(best))]
        for name, code in rows.items():
            info = self.evaluate(code, 0)
            values = dict(info.info) | {self.metric: info.value}
            lines.append(
                f"  {name:10} score {values['score']:.4f}  CLIP-T {values['clip_t']:.4f}  CLIP-I {values['clip_i']:.4f}"
                f"  identity {values['identity']:.4f}  {int(values['parameters']):,} LoRA weights"
            )
        path = contact_sheet(self, best)
        lines.append(f"contact sheet (references, base model, uniform {RANKS[0]}, winner): {path}")
        lines.append("to learn three concepts with these ranks, fuse them and compare:")
        options = f"--code {best} --partition {self.partition}"
        lines.append(f"  python -m search.tasks.sd.retrain {options} --out runs/sd-long")
        return "\n".join(lines)

    def describe(self) -> dict[str, Any]:
        facts: dict[str, Any] = {"recipe": asdict(self.recipe), "evaluation": self.evaluation}
        facts["partition"] = self.partition
        facts |= {"controls": list(self.controls), "images": self.images, "weights": list(self.weights)}
        if self._ready:
            facts |= {"concept": self.concept.name, "base": self.base.about}
        return super().describe() | facts


def _by_block(ranks: dict[str, int]) -> list[str]:
    rows: dict[str, list[str]] = {}
    for name, rank in ranks.items():
        block, _, kind = name.partition("_")
        number, _, kind = kind.partition("_")
        rows.setdefault(f"{block}_{number}", []).append(f"{kind} {rank}")
    return [f"  {block:8} {', '.join(parts)}" for block, parts in rows.items()]


def _number(name: str, value: Any, least: float) -> float:
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = float("nan")
    if not number >= least:
        raise UserError(f"{name}={value} was given - a number of at least {least} is needed")
    return number
