"""Beam search with cached keys and values, for batches of sentences."""

from __future__ import annotations

import torch
from torch import Tensor

from search.tasks.hat.model import BOS, EOS, PAD, UNK, State, Transformer


@torch.no_grad()
def translate(
    model: Transformer, source: Tensor, beam: int = 5, length_penalty: float = 1.0, extra: int = 50
) -> list[list[int]]:
    """The best translation of every sentence: token numbers without marks.

    source: int64 (sentences, time). A hypothesis scores log p / length ** length_penalty, its </s> counted (fairseq's
    rule); at most 1.2 x the source length + `extra` tokens. A sentence is done when its `beam` best hypotheses have
    ended.
    """
    model.eval()
    n, device = len(source), source.device
    limit = int(1.2 * source.shape[1] + extra)
    layers, mask = model.encode(source)
    rows = torch.arange(n, device=device).repeat_interleave(beam)
    encoded = ([x[rows] for x in layers], mask[rows])
    state = State()
    tokens = torch.full((n * beam, 1), BOS, dtype=torch.int64, device=device)
    scores = torch.full((n, beam), float("-inf"), device=device)
    scores[:, 0] = 0.0
    ended: list[list[tuple[float, list[int]]]] = [[] for _ in range(n)]
    live = set(range(n))
    for step in range(1, limit + 1):
        logits = model.decode(tokens[:, -1:], encoded, state=state)[:, -1].float()
        log_p = logits.log_softmax(-1)
        log_p[:, [PAD, BOS, UNK]] = float("-inf")
        if step == limit:
            log_p[:, :EOS] = float("-inf")
            log_p[:, EOS + 1 :] = float("-inf")
        words = log_p.shape[1]
        best, where = (scores[:, :, None] + log_p.view(n, beam, words)).view(n, -1).topk(min(2 * beam, beam * words))
        parent, word = where // words, where % words
        scores, choice = _keep(best, word, parent, tokens, ended, live, beam, step, length_penalty)
        flat = (torch.arange(n, device=device)[:, None] * beam + parent.gather(1, choice)).flatten()
        tokens = torch.cat([tokens[flat], word.gather(1, choice).flatten()[:, None]], dim=1)
        state.reorder(flat)
        if not live:
            break
    return [max(hypotheses, default=(0.0, []), key=lambda h: h[0])[1] for hypotheses in ended]


def _keep(
    best: Tensor,
    word: Tensor,
    parent: Tensor,
    tokens: Tensor,
    ended: list,
    live: set[int],
    beam: int,
    step: int,
    penalty: float,
) -> tuple[Tensor, Tensor]:
    """Note the hypotheses that end among the `beam` best; return scores and columns of the `beam` best that go on, both
    (n, beam).
    """
    is_end = word == EOS
    for i in sorted(live):
        for j in range(beam):
            if is_end[i, j] and torch.isfinite(best[i, j]):
                row = tokens[i * beam + int(parent[i, j]), 1:].tolist()
                ended[i].append((float(best[i, j]) / step**penalty, row))
        if len(ended[i]) >= beam:
            live.discard(i)
    going = best.masked_fill(is_end, float("-inf"))
    return going.topk(beam)
