"""Figure 3 and Table 10: picks are counted from trials, attention from a model whose attention is known."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest

from search import analyse
from search.errors import cli
from search.rankers.attention import Attended, attended
from search.reports.correlation import correlations
from search.reports.curves import Run, SeedRun
from search.reports.picks import markdown, share
from search.spaces import Seen


def seeds_of(chance, seeds: int = 6, length: int = 120) -> Run:
    """Runs whose ranker picks a uniform candidate with probability `chance(trial)`."""
    made = []
    for seed in range(seeds):
        rng = np.random.default_rng(seed)
        origins = ["warmup"] * 5 + [("uniform" if rng.random() < chance(t) else "mutant") for t in range(5, length)]
        made.append(SeedRun(str(seed), tuple({"origin": o} for o in origins), {}))
    return Run("picker", Path("runs/x"), tuple(made))


def test_a_random_picker_stays_at_one_half_and_a_changing_one_is_overtaken():
    half = share(seeds_of(lambda t: 0.5, seeds=12))
    assert half is not None and abs(half.mean - 0.5).max() < 0.15 and (half.low <= half.mean).all()
    turning = share(seeds_of(lambda t: 0.9 if t < 60 else 0.1))
    assert turning is not None and 50 <= turning.overtaken <= 75
    assert turning.mean[0] > 0.8 and turning.mean[-1] < 0.2
    assert share(seeds_of(lambda t: 0.95)).overtaken is None
    assert "one-digit mutants of the five best" in markdown([half, turning])


def test_runs_without_a_choice_have_no_share():
    assert share(seeds_of(lambda t: 1.0)) is None


def made_up(rng, slope: float, sorted_history: bool, entries: int = 30, candidates: int = 4) -> Attended:
    """Attention that falls with position alone (recency) plus `slope` times performance."""
    performance = rng.normal(size=entries)
    if sorted_history:
        performance = np.sort(performance)[::-1]
    position = np.arange(entries, dtype=float)
    raw = np.exp(0.05 * position + slope * performance + 0.1 * rng.normal(size=(candidates, entries)))
    similarity = rng.random((candidates, entries))
    return Attended(raw / raw.sum(axis=1, keepdims=True), similarity, performance, position)


def test_recency_alone_looks_like_performance_only_where_histories_are_sorted():
    """The paper's confound, and the partial correlation that sees through it."""
    rng = np.random.default_rng(0)
    sorted_ = {c.what: c for c in correlations([made_up(rng, 0.0, True) for _ in range(20)], 200)}
    shuffled = {c.what: c for c in correlations([made_up(rng, 0.0, False) for _ in range(20)], 200)}
    assert sorted_["performance"].r < -0.7 and sorted_["position"].r > 0.9
    assert abs(shuffled["performance"].r) < 0.1 and shuffled["performance"].p > 0.01
    assert abs(shuffled["similarity"].partial) < 0.1 and shuffled["similarity"].pairs == 20 * 4 * 30


def test_true_attention_to_performance_is_found_given_position():
    rng = np.random.default_rng(1)
    found = {c.what: c for c in correlations([made_up(rng, -0.8, False) for _ in range(20)], 200)}
    assert found["performance"].partial < -0.6 and found["performance"].partial_p < 0.01
    assert found["similarity"].p > 0.01


@pytest.fixture(scope="module")
def reader(tmp_path_factory):
    pytest.importorskip("llamafactory")
    from tiny_models import write_chat_yaml, write_model

    folder = write_model(tmp_path_factory.mktemp("model"), "merged")
    return write_chat_yaml(folder.parent / "chat.yaml", folder)


def test_attention_is_read_where_the_codes_stand(reader):
    """Against the bare model: the same rows and columns of its attention, found by decoding token after token."""
    import torch

    ranker = analyse._reader(f"chat:{reader}", None)("append")
    history = [Seen("012341", 71.5), Seen("333133", 73.4), Seen("444444", 10.0)]
    candidates = ["000000", "123123"]
    found = attended(ranker, history, candidates)
    assert found.attention.shape == (2, 3) and np.allclose(found.attention.sum(axis=1), 1)
    assert found.performance.tolist() == [71.5, 73.4, 10.0] and found.similarity[1, 1] == 0.5
    text, ids = ranker.question(history, candidates)
    pieces = [ranker.tokenizer.decode([i]) for i in ids]
    with torch.inference_mode():
        layers = ranker.model(torch.tensor([ids]), output_attentions=True).attentions
    mean = torch.stack([a[0].mean(0) for a in layers]).mean(0).numpy()
    spans = {}
    for code in [s.code for s in history] + candidates:  # "012" "341": the tokenizer joins three digits
        at = next(i for i in range(len(pieces)) if "".join(pieces[i : i + 2]) == code)
        spans[code] = [at, at + 1]
    expected = np.array([[mean[spans[c]][:, spans[s.code]].sum(1).mean() for s in history] for c in candidates])
    np.testing.assert_allclose(found.attention, expected / expected.sum(1, keepdims=True), rtol=1e-5)
    paper = attended(analyse._reader(f"chat:{reader}", None)("paper"), history, candidates)
    assert paper.performance.tolist() == [73.4, 71.5, 10.0]


def run(monkeypatch, *words) -> int:
    monkeypatch.setattr(sys, "argv", ["program", *map(str, words)])
    with pytest.raises(SystemExit) as stop:
        cli(analyse.main)
    return stop.value.code


def test_the_attention_command_writes_its_table(reader, tmp_path, monkeypatch):
    words = (
        "--ranker",
        f"chat:{reader}",
        "--questions",
        2,
        "--history",
        6,
        "--permutations",
        20,
        "--out",
        tmp_path / "a",
    )
    assert run(monkeypatch, "attention", *words) == 0
    facts = json.loads((tmp_path / "a" / "attention.json").read_text())
    assert {(r["history"], r["what"]) for r in facts["rows"]} == {
        (h, w) for h in ("random", "sorted") for w in ("similarity", "performance", "position")
    }
    assert all(r["pairs"] == 2 * 10 * 6 for r in facts["rows"])
    assert run(monkeypatch, "attention", "--ranker", "nano") == 2


def test_the_picks_command_reads_a_run_and_its_controls(tmp_path, monkeypatch, capsys):
    from search.run import main

    words = [
        "--task",
        "nb201/cifar10",
        "--ranker",
        "surrogate",
        "--proposal",
        "mixed",
        "--budget",
        "45",
        "--seeds",
        "0-1",
    ]
    out = tmp_path / "run"
    assert main([*words, "--controls", "random-ranker,random", "--quiet", "--out", str(out)]) == 0
    assert run(monkeypatch, "picks", out, "--out", tmp_path / "picks") == 0
    said = (tmp_path / "picks" / "picks.md").read_text()
    assert said.count("\n| ") == 2 + 0 and (tmp_path / "picks" / "picks.png").stat().st_size > 10_000
    assert run(monkeypatch, "picks", out / "controls" / "random", "--out", tmp_path / "none") == 2
