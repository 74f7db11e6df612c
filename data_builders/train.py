"""LLaMA-Factory's training with one saving: logits only where an answer is learned. Same arguments as `llamafactory-cli
train`.

    python -m data_builders.train yaml/lmsearcher_raw.yaml max_steps=100
    torchrun --nproc_per_node 2 -m data_builders.train yaml/lmsearcher_raw.yaml

In the format `stamped` one token in 2 d + 2 is an answer, and the head has 3,386 rows: logits of all tokens would cost
as much as the rest of the model. Batches are padded on the right, so padding needs no mask: what stands behind a token
does not
reach it. The loss and its gradients are the same (tests/test_raw.py).
"""

from __future__ import annotations

from typing import Any

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


def main() -> None:
    """The command line: the arguments are LLaMA-Factory's."""
    from llamafactory.train.tuner import run_exp
    from transformers import TrainerCallback

    class OnlyAnswers(TrainerCallback):
        def on_train_begin(self, args: Any, state: Any, control: Any, model: Any = None, **more: Any) -> None:
            only_answers(model)

    run_exp(callbacks=[OnlyAnswers()])


if __name__ == "__main__":
    main()
