"""The raw searcher: its start, the saving in training, its ranker, and the shipped model on worlds it never saw."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from search.errors import UserError
from search.rankers import SHIPPED, Context, make_ranker
from search.spaces import Seen, Space

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

from data_builders.prior.stamped_rows import STAGES, histories, written
from data_builders.raw_model import write_start
from data_builders.train import IGNORED, only_answers, orthogonal
from search.prompts.stamp import write_stamp
from search.prompts.stamped import BOS, FIRST_CODE, FIRST_VALUE, arrays, bin_scores, naming, steady_bins
from search.rankers.control import HistoryControl
from search.rankers.raw import RawRanker, dealt, reading
from search.rankers.weights import load_model

SPACE = Space.of_sizes([4, 4, 4, 3, 3])


@pytest.fixture(scope="module")
def start(tmp_path_factory) -> Path:
    """The copying start of the smallest size, stamped."""
    folder = write_start(tmp_path_factory.mktemp("raw") / "start", "tiny", 0)
    write_stamp(folder, "stamped")
    return folder


def asked(seed: int = 0, n: int = 25, m: int = 10) -> tuple[list[Seen], list[str], np.ndarray]:
    """A history and candidates of an additive world, and the candidates' true values."""
    rng = np.random.default_rng(seed)
    codes = rng.permutation(np.unique(SPACE.sample(rng, 4 * (n + m)), axis=0))[: n + m]
    values = rng.normal(size=(5, 4))[np.arange(5), codes].sum(1)
    texts = SPACE.to_codes(codes)
    return [Seen(c, float(v)) for c, v in zip(texts[:n], values[:n], strict=True)], texts[n:], values[n:]


def correlation(model, rows: int = 24) -> float:
    """Of expected and true values in the second half of fresh easy histories."""
    guessed, true = [], []
    for i, told in enumerate(histories(np.random.default_rng(5), 160, STAGES["easy"])[:rows]):
        ids = np.concatenate([[BOS], written(np.random.default_rng(i), told).reshape(-1)])
        width = 2 * told.codes.shape[1] + 2
        places = 1 + np.arange(len(told.codes)) * width + width // 2 - 1
        places = places[len(places) // 2 :]
        with torch.inference_mode():
            logits = model(input_ids=torch.tensor(ids)[None]).logits[0, places, FIRST_VALUE:FIRST_CODE]
        guessed.append(logits.softmax(-1).numpy() @ bin_scores())
        true.append(bin_scores()[ids[places + 1] - FIRST_VALUE])
    return float(np.corrcoef(np.concatenate(guessed), np.concatenate(true))[0, 1])


def test_the_start_is_an_ordinary_llama_and_the_same_every_time(start: Path, tmp_path: Path):
    again = write_start(tmp_path / "again", "tiny", 0)
    assert json.loads((start / "config.json").read_text())["architectures"] == ["LlamaForCausalLM"]
    assert (start / "model.safetensors").read_bytes() == (again / "model.safetensors").read_bytes()


def test_the_start_answers_with_values_only(start: Path):
    history, candidates, _ = asked()
    codes, values, new = arrays(history, candidates)
    names = naming(codes, steady_bins(values), new)
    ids = [BOS, *names.entries(codes, steady_bins(values)).reshape(-1), *names.questions(new)[0]]
    with torch.inference_mode():
        odds = load_model(start)(input_ids=torch.tensor([ids])).logits[0, -1].softmax(-1)
    assert float(odds[FIRST_VALUE:FIRST_CODE].sum()) > 0.9


def test_an_unknown_size_is_refused(tmp_path: Path):
    with pytest.raises(UserError, match="small"):
        write_start(tmp_path, "smal")


def test_learning_only_the_answers_gives_the_same_loss_and_gradients(start: Path):
    plain, saving = load_model(start).train(), load_model(start).train()
    only_answers(saving)
    ids = torch.randint(6, 200, (3, 40), generator=torch.Generator().manual_seed(0))
    mask = torch.ones_like(ids)
    mask[1, 30:] = 0
    labels = torch.where(torch.arange(40) % 7 == 3, ids, torch.full_like(ids, IGNORED)) * mask + IGNORED * (1 - mask)
    losses = []
    for model in (plain, saving):
        out = model(input_ids=ids, attention_mask=mask, labels=labels, use_cache=False)
        out.loss.backward()
        losses.append(out)
    assert torch.allclose(losses[0].loss, losses[1].loss, atol=1e-6)
    assert losses[1].logits.shape[1] == int((labels[:, 1:] != IGNORED).sum())
    for a, b in zip(plain.parameters(), saving.parameters(), strict=True):
        assert torch.allclose(a.grad, b.grad, atol=1e-6)


@pytest.mark.parametrize("shape", [(24, 24), (24, 40), (40, 24)])
def test_muons_iteration_in_single_precision_is_llama_factorys(shape: tuple[int, int]):
    muon = pytest.importorskip("llamafactory.third_party.muon.muon")
    gradient = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    ours, theirs = orthogonal(gradient, 5), muon.zeropower_via_newtonschulz5(gradient, 5).float()
    assert torch.allclose(ours, theirs, atol=0.03)
    values = torch.linalg.svdvals(ours)
    assert 0.5 < values.min() and values.max() < 1.5


def test_the_kept_history_changes_no_score(start: Path):
    history, candidates, _ = asked(n=30)
    stepwise = RawRanker(start, "mean")
    for n in range(1, 31):
        last = stepwise.rank(history[:n], candidates)
    fresh = RawRanker(start, "mean").rank(history, candidates)
    assert np.allclose(last.scores, fresh.scores, atol=2e-4) and last.tokens < fresh.tokens


def test_scores_do_not_depend_on_the_order_or_company_of_candidates(start: Path):
    history, candidates, _ = asked()
    ranker = RawRanker(start, "mean")
    one, turned = ranker.rank(history, candidates), ranker.rank(history, candidates[::-1])
    alone = [ranker.rank(history, [c]).scores[0] for c in candidates]
    assert np.allclose(one.scores, turned.scores[::-1], atol=2e-4) and np.allclose(one.scores, alone, atol=2e-4)


def test_it_answers_without_a_history_and_with_many_candidates(start: Path):
    ranker = RawRanker(start)
    codes = SPACE.to_codes(np.unique(SPACE.sample(np.random.default_rng(0), 400), axis=0)[:150])
    assert ranker.rank([], codes[:3]).best in codes[:3]
    assert len(ranker.rank([Seen(codes[0], 1.0)], codes[1:]).scores) == 149


@pytest.mark.parametrize("sizes", [[3] * 48, [30] * 5, [2] * 17])
def test_spaces_beyond_the_words_and_long_histories_are_read(start: Path, sizes: list[int]):
    space, rng = Space.of_sizes(sizes), np.random.default_rng(0)
    codes = space.to_codes(np.unique(space.sample(rng, 400), axis=0))
    history = [Seen(c, float(rng.normal())) for c in codes[:200]]
    ranking = RawRanker(start, "mean", 1).rank(history, codes[200:205])
    assert ranking.tokens < 4 * (2048 + 5 * 17) and np.isfinite(ranking.scores).all()


def test_a_long_history_is_dealt_out_and_only_grows_at_its_end():
    for n in range(1, 300):
        parts = dealt(n, 10, 200)
        together = np.sort(np.concatenate(parts))
        assert all(len(p) <= 20 and np.all(np.diff(p) > 0) for p in parts) and together[-1] == n - 1
        assert len(set(together.tolist())) == len(together) and (n > 80 or len(together) == n)
    starts = {tuple(int(p[0]) for p in dealt(n, 10, 200)) for n in range(81, 200)}
    assert len(starts) < 30


def test_the_two_readings():
    sure, bold = np.zeros((2, 20))
    sure[14], bold[[0, 19]] = 1.0, (0.5, 0.5)
    odds = np.stack([sure, bold])
    assert reading(odds, np.array([3, 19]), "mean").argmax() == 0
    assert reading(odds, np.array([3, 19]), "blend").argmax() == 1


@pytest.mark.parametrize("spec", ["raw:nowhere", "raw:?names=0", "raw:?tokens=9", "raw:?name=1"])
def test_wrong_specs_are_refused(spec: str, start: Path):
    with pytest.raises(UserError):
        make_ranker(spec.replace("raw:?", f"raw:{start}?"), Context(SPACE))


def test_the_spec_names_folder_and_reading(start: Path):
    ranker = make_ranker(f"raw:{start}#blend?names=3", Context(SPACE, goal="pick"))
    assert (ranker.mode, ranker.names) == ("blend", 3)
    assert make_ranker(f"raw:{start}", Context(SPACE, goal="pick")).mode == "mean"


def shipped() -> RawRanker:
    return RawRanker(SHIPPED / "raw", "mean")


def test_the_shipped_model_is_light_and_stamped():
    folder = SHIPPED / "raw"
    assert sum(f.stat().st_size for f in folder.iterdir()) < 10e6
    assert json.loads((folder / "prompt_format.json").read_text())["format"] == "stamped"


def test_the_shipped_model_reads_fresh_histories():
    assert correlation(load_model(SHIPPED / "raw")) > 0.6


def percentile(ranker, worlds: int = 16) -> float:
    marks = []
    for seed in range(worlds):
        history, candidates, values = asked(seed, 30)
        pick = values[candidates.index(ranker.rank(history, candidates).best)]
        marks.append((values < pick).mean() * 10 / 9)
    return float(np.mean(marks))


def test_the_shipped_model_believes_the_history_it_is_shown():
    true, shuffled, negated = (
        percentile(r) for r in (shipped(), HistoryControl(shipped(), "shuffled"), HistoryControl(shipped(), "negated"))
    )
    assert true > 0.8 and true - shuffled > 0.15 and negated < 0.25
