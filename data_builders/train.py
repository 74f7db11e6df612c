"""LLaMA-Factory's training with one saving: logits only where an answer is learned. Same arguments as `llamafactory-cli
train`.

    python -m data_builders.train yaml/lmsearcher_raw.yaml max_steps=100
    python -m data_builders.train yaml/lmsearcher_raw.yaml minutes=30      # the learning rate falls to 0 by the clock
    torchrun --nproc_per_node 2 -m data_builders.train yaml/lmsearcher_raw.yaml

In the format `stamped` one token in 2 d + 2 is an answer, and the head has 3,386 rows: logits of all tokens would cost
as much as the rest of the model. Batches are padded on the right, so padding needs no mask: what stands behind a token
does not
reach it. The loss and its gradients are the same (tests/test_raw.py). With use_muon=true on a CPU, Muon's iteration
runs in single precision: LLaMA-Factory's asks for bfloat16, which most CPUs emulate (1.34 against 0.14 s a step).
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from typing import Any

from search.errors import UserError, cli

IGNORED = -100


def only_answers(model: Any) -> None:
    """Hook a causal language model so that, while training, its head computes the labelled positions alone."""
    import torch

    kept: dict[str, torch.Tensor] = {}

    def before(module: Any, args: tuple, kwargs: dict) -> tuple[tuple, dict] | None:
        labels = kwargs.get("labels")
        if labels is None or not module.training:
            return None
        following = torch.nn.functional.pad(labels, (0, 1), value=IGNORED)[:, 1:]
        kept["where"] = following != IGNORED
        more = {"shift_labels": following[kept["where"]][None]}
        mask = kwargs.get("attention_mask")
        if mask is not None and mask.dim() == 2 and bool((mask[:, 1:] <= mask[:, :-1]).all()):
            more["attention_mask"] = None
        return args, kwargs | more

    def head(module: Any, args: tuple) -> tuple | None:
        where = kept.pop("where", None)
        return None if where is None else (args[0][where][None],)

    model.register_forward_pre_hook(before, with_kwargs=True)
    model.get_output_embeddings().register_forward_pre_hook(head)


def orthogonal(gradient: Any, steps: int) -> Any:
    """Muon's Newton-Schulz iteration in the gradient's own precision: float (m, n) -> its nearest orthogonal matrix,
    roughly (singular values about 0.7 to 1.2).

    The quintic's coefficients are those of LLaMA-Factory's Muon (Jordan et al. 2024).
    """
    a, b, c = 3.4445, -4.7750, 2.0315
    x = gradient.T if gradient.shape[0] > gradient.shape[1] else gradient
    x = x / (x.norm() + 1e-7)
    for _ in range(steps):
        square = x @ x.T
        x = a * x + (b * square + c * square @ square) @ x
    return x.T if gradient.shape[0] > gradient.shape[1] else x


def muon_for_cpu() -> None:
    """Let LLaMA-Factory's Muon iterate in single precision where no accelerator is at hand."""
    import torch
    from llamafactory.third_party.muon import muon

    if not torch.cuda.is_available():
        muon.zeropower_via_newtonschulz5 = orthogonal


class Clock:
    """A learning rate that falls by the clock: from what the recipe's schedule says to 0 in so many minutes, then stop.

    For machines whose speed is not known beforehand: the decay, which brings the last points, is whole in any case.
    """

    def __init__(self, minutes: float, now: Callable[[], float] = time.monotonic):
        self.seconds, self.now, self.start = 60 * minutes, now, now()

    def left(self) -> float:
        """Share of the time that is left, 1 to 0."""
        return max(0.0, 1.0 - (self.now() - self.start) / self.seconds)


def minutes_of(words: list[str]) -> tuple[float | None, list[str]]:
    """The number in `minutes=30` and the other arguments; UserError when it is none."""
    given = [word for word in words if word.startswith("minutes=")]
    rest = [word for word in words if word not in given]
    try:
        minutes = float(given[-1].partition("=")[2]) if given else None
    except ValueError:
        minutes = 0.0
    if minutes is not None and not 0 < minutes < 1e6:
        raise UserError(f"{given[-1]} was given - minutes of training are a number above 0 - write minutes=30")
    return minutes, rest


def main() -> int:
    """The command line: the arguments are LLaMA-Factory's, and minutes."""
    minutes, sys.argv[1:] = minutes_of(sys.argv[1:])
    if minutes and int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise UserError("minutes was given to several processes - their clocks would part them - give max_steps")
    from llamafactory.train.tuner import run_exp
    from transformers import TrainerCallback

    class Savings(TrainerCallback):
        def on_train_begin(self, args: Any, state: Any, control: Any, model: Any = None, **more: Any) -> None:
            only_answers(model)
            self.clock = Clock(minutes) if minutes else None

        def on_step_begin(self, args: Any, state: Any, control: Any, optimizer: Any = None, **more: Any) -> None:
            if self.clock:
                for group in optimizer.param_groups:
                    group["lr"] *= self.clock.left()  # the recipe's schedule sets it anew after each step

        def on_step_end(self, args: Any, state: Any, control: Any, **more: Any) -> None:
            control.should_training_stop |= self.clock is not None and self.clock.left() <= 0

    muon_for_cpu()
    run_exp(callbacks=[Savings()])
    return 0


if __name__ == "__main__":
    cli(main)
