"""Log-probabilities of whole answers under a causal language model, with the prompt's key-value cache kept between
calls.

A score is log P(answer, end of answer | prompt), in nats: the sum over all tokens of the answer including its last (the
end mark). That is fair to length: it is the probability of one complete text, codes of a space all have the same number
of digits, and a code that the tokenizer cuts into more pieces is neither rewarded (as by a mean per token) nor cut
short.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

PREFILL = 1024  # tokens of a long prompt computed at once; attention's memory grows with it


@dataclass(frozen=True)
class Scored:
    """scores: float64 log-probabilities, one per answer. computed: tokens that went through the model; reused: tokens
    whose keys and values were still in the cache."""

    scores: tuple[float, ...]
    computed: int
    reused: int


def common_prefix(a: Sequence[int], b: Sequence[int]) -> int:
    """Length of the longest common beginning of two token lists."""
    for i, (x, y) in enumerate(zip(a, b)):
        if x != y:
            return i
    return min(len(a), len(b))


@dataclass(frozen=True)
class AnswerTree:
    """Answers folded into a tree, so that a beginning shared by several answers is computed once.

    tokens[i], parent[i] (-1: the prompt's end), depth[i] (0: first answer token) of node i; paths[k]: for answer k the
    (node, target) pairs whose log-probabilities add up to its score, node -1 being the prompt's last token.
    """

    tokens: tuple[int, ...]
    parent: tuple[int, ...]
    depth: tuple[int, ...]
    paths: tuple[tuple[tuple[int, int], ...], ...]


def answer_tree(answers: Sequence[Sequence[int]]) -> AnswerTree:
    """The tree of non-empty token lists; the last token of an answer is only predicted, never fed."""
    nodes: dict[tuple[int, ...], int] = {(): -1}
    tokens: list[int] = []
    parent: list[int] = []
    depth: list[int] = []
    paths: list[tuple[tuple[int, int], ...]] = []
    for answer in map(tuple, answers):
        path = []
        for i, token in enumerate(answer):
            path.append((nodes[answer[:i]], token))
            if i + 1 < len(answer) and answer[: i + 1] not in nodes:
                nodes[answer[: i + 1]] = len(tokens)
                tokens.append(token)
                parent.append(nodes[answer[:i]])
                depth.append(i)
        paths.append(tuple(path))
    return AnswerTree(tuple(tokens), tuple(parent), tuple(depth), tuple(paths))


def hidden(tail: int, past: int, tree: AnswerTree) -> np.ndarray:
    """What may not be attended to: bool (tail + nodes, past + tail + nodes).

    The prompt's tail sees what came before it; a node of the tree sees the whole prompt, its ancestors and itself.
    """
    nodes = len(tree.tokens)
    out = np.zeros((tail + nodes, past + tail + nodes), dtype=bool)
    out[:tail, past:] = ~np.tri(tail, tail + nodes, dtype=bool)
    family = np.eye(nodes, dtype=bool)
    for i, up in enumerate(tree.parent):
        if up >= 0:
            family[i] |= family[up]
    out[tail:, past + tail :] = ~family
    return out


class CachedScorer:
    """Scores answers in one forward pass over the tokens that are new since the last call.

    The longest common beginning of the last and the present prompt is kept, in tokens (so a tokenizer that merges
    digits across an old boundary is handled: merged tokens differ and are computed again). What follows it, and the
    tree of answers behind it, is one sequence with one attention mask; nothing is copied per candidate.
    """

    def __init__(self, model: Any, prefill: int = PREFILL):
        self.model, self.prefill = model, prefill
        self.clear()

    def clear(self) -> None:
        """Forget the cached prompt."""
        self.cache: Any = None
        self.known: list[int] = []

    def score(self, prompt: Sequence[int], answers: Sequence[Sequence[int]]) -> Scored:
        """Log-probability of each answer (token ids, end mark included) after the prompt (token ids, at least one)."""
        import torch
        from transformers import DynamicCache

        prompt = list(prompt)
        if self.cache is None:
            self.cache = DynamicCache(config=self.model.config)
        keep = min(common_prefix(self.known, prompt), len(prompt) - 1)
        try:
            with torch.inference_mode():
                self.cache.crop(keep)
                start = keep
                while len(prompt) - start > self.prefill:
                    self._forward(prompt[start : start + self.prefill], None)
                    start += self.prefill
                scores, nodes = self._last(prompt[start:], start, answers)
                self.cache.crop(len(prompt))
        except BaseException:
            self.clear()
            raise
        self.known = prompt
        return Scored(scores, len(prompt) - keep + nodes, keep)

    def _forward(self, tokens: list[int], extra: dict[str, Any] | None, positions: int = 1) -> Any:
        import torch

        ids = torch.tensor([tokens], device=self.model.device)
        return self.model(
            input_ids=ids, past_key_values=self.cache, use_cache=True, logits_to_keep=positions, **(extra or {})
        ).logits[0]

    def _last(self, tail: list[int], past: int, answers: Sequence[Sequence[int]]) -> tuple[tuple[float, ...], int]:
        """One pass over the prompt's tail and the answer tree; (scores, nodes of the tree)."""
        import torch

        tree = answer_tree(answers)
        m, n = len(tail), len(tree.tokens)
        device, dtype = self.model.device, self.model.dtype
        mask = torch.from_numpy(hidden(m, past, tree)).to(device)
        mask = torch.zeros(mask.shape, dtype=dtype, device=device).masked_fill_(mask, torch.finfo(dtype).min)
        where = list(range(past, past + m)) + [past + m + d for d in tree.depth]
        extra = {"attention_mask": mask[None, None], "position_ids": torch.tensor([where], device=device)}
        logits = self._forward(tail + list(tree.tokens), extra, positions=n + 1).float().log_softmax(-1)
        rows = torch.tensor([node + 1 for path in tree.paths for node, _ in path], device=device)
        targets = torch.tensor([target for path in tree.paths for _, target in path], device=device)
        terms = logits[rows, targets].double().cpu().tolist()
        scores, at = [], 0
        for path in tree.paths:
            scores.append(sum(terms[at : at + len(path)]))
            at += len(path)
        return tuple(scores), n


class PlainScorer:
    """The reference: every prompt + answer as one row of a right-padded batch, no cache.

    Works with any causal model, also those whose cache cannot be cut back (sliding windows, recurrent layers).
    """

    def __init__(self, model: Any, batch: int = 16):
        self.model, self.batch = model, batch

    def clear(self) -> None:
        """Nothing is kept."""

    def score(self, prompt: Sequence[int], answers: Sequence[Sequence[int]]) -> Scored:
        """Log-probability of each answer (token ids, end mark included) after the prompt (token ids, at least one)."""
        import torch

        scores: list[float] = []
        with torch.inference_mode():
            for i in range(0, len(answers), self.batch):
                scores += self._score(list(prompt), [list(a) for a in answers[i : i + self.batch]])
        return Scored(tuple(scores), len(answers) * len(prompt) + sum(map(len, answers)), 0)

    def _score(self, prompt: list[int], answers: list[list[int]]) -> list[float]:
        import torch

        width = len(prompt) + max(map(len, answers))
        ids = torch.zeros(len(answers), width, dtype=torch.long)
        mask = torch.zeros_like(ids)
        for row, answer in enumerate(answers):
            ids[row, : len(prompt) + len(answer)] = torch.tensor(prompt + answer)
            mask[row, : len(prompt) + len(answer)] = 1
        ids, mask = ids.to(self.model.device), mask.to(self.model.device)
        keep = width - len(prompt) + 1
        logits = self.model(input_ids=ids, attention_mask=mask, use_cache=False, logits_to_keep=keep).logits
        log_p = logits[:, :-1].float().log_softmax(-1).gather(-1, ids[:, len(prompt) :, None]).squeeze(-1)
        return (log_p.double() * mask[:, len(prompt) :]).sum(-1).cpu().tolist()


def make_scorer(model: Any) -> CachedScorer | PlainScorer:
    """The cached scorer where the model's cache can be cut back and takes our attention mask, else the plain one."""
    from transformers import DynamicCache
    from transformers.cache_utils import DynamicLayer

    plain_layers = all(type(layer) is DynamicLayer for layer in DynamicCache(config=model.config).layers)
    return (
        CachedScorer(model)
        if plain_layers and model.config._attn_implementation in ("sdpa", "eager")
        else PlainScorer(model)
    )
