"""What a model sees in training is what it sees when it is asked: token for token, for every format and tokenizer.

Three ways to the same ids: LLaMA-Factory's training data pipeline on a row, the chat ranker, and the jinja template
that a server (vLLM, SGLang) is given.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tiny_models import TOKENIZERS, random_history, write_model

from benchmarks.raw_history import RAW
from data_builders import pretrained
from data_builders.nano_model import write_start
from search.errors import UserError
from search.prompts import FORMATS, get_format
from search.rankers.chat import ChatRanker, load_chat_model
from search.rankers.control import RandomRanker
from search.spaces import Space

ROOT = Path(__file__).resolve().parent.parent
SPACES = [Space.of_sizes([5] * 6), Space.of_sizes([7] * 8), Space.of_sizes([12, 36, 3, 11] * 6)]
OURS = ("paper", "append", "release", "direct")
PAIRS = [(f, t) for t in TOKENIZERS for f in OURS] + [(f, "nano") for f in ("nano", "nano_value", *RAW)]
SLOW = [pytest.param(f, "smollm2", marks=pytest.mark.slow) for f in OURS]


@pytest.fixture(scope="module")
def model_folder(tmp_path_factory):
    """Tokenizer name -> a model folder with it and the template its recipe names (None: the tokenizer's own)."""
    made: dict[str, tuple[Path, str | None]] = {}

    def get(name: str) -> tuple[Path, str | None]:
        if name not in made:
            folder = tmp_path_factory.mktemp(name)
            if name == "nano":
                made[name] = (write_start(folder, "tiny"), None)
            elif name == "smollm2":
                try:
                    pretrained.package_folder()
                except UserError as error:
                    pytest.skip(str(error))
                write_model(folder, "characters")
                tokenizer = pretrained.convert_tokenizer()
                tokenizer.save_pretrained(folder)
                resize(folder, len(tokenizer))
                made[name] = (folder, "llama3")
            else:
                made[name] = (write_model(folder, name), "llama3")
        return made[name]

    return get


def resize(folder: Path, tokens: int) -> None:
    """Give an untrained model as many embeddings as another tokenizer has tokens."""
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(folder)
    model.resize_token_embeddings(tokens)
    model.save_pretrained(folder)


def rows_and_questions(name: str):
    """Alpaca rows of a format, and what was asked in them."""
    form, rows, asked = get_format(name), [], []
    for i, space in enumerate(SPACES):
        history = random_history(space, 7 * i + 5, seed=i)
        candidates = [s.code for s in random_history(space, 10, seed=50 + i)]
        prompt = form.render(history, candidates)
        answer = candidates[3] if getattr(form, "answer", True) else "<v31>"
        rows.append({"instruction": prompt.instruction, "input": prompt.input, "output": form.answer_text(answer)})
        asked.append((history, candidates, answer))
    return rows, asked


def training_examples(rows, folder: Path, template: str | None, tmp_path: Path):
    """input_ids and labels of the rows, from LLaMA-Factory's own data pipeline."""
    from llamafactory.data import get_dataset, get_template_and_fix_tokenizer
    from llamafactory.hparams import get_train_args
    from llamafactory.model import load_tokenizer

    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows))
    (tmp_path / "dataset_info.json").write_text(json.dumps({"rows": {"file_name": "rows.jsonl"}}))
    settings = {
        "model_name_or_path": str(folder),
        "stage": "sft",
        "do_train": True,
        "finetuning_type": "full",
        "dataset": "rows",
    }
    settings |= {
        "dataset_dir": str(tmp_path),
        "cutoff_len": 4096,
        "output_dir": str(tmp_path / "out"),
        "use_cpu": True,
        "overwrite_cache": True,
    }
    model, data, training, _, _ = get_train_args(settings | ({"template": template} if template else {}))
    module = load_tokenizer(model)
    found = get_dataset(
        get_template_and_fix_tokenizer(module["tokenizer"], data), model, data, training, stage="sft", **module
    )
    return found["train_dataset"], module["tokenizer"]


@pytest.mark.parametrize("name, tokenizer", PAIRS + SLOW)
def test_training_and_serving_see_the_same_tokens(name, tokenizer, model_folder, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))
    folder, template = model_folder(tokenizer)
    rows, asked = rows_and_questions(name)
    examples, trained_tokenizer = training_examples(rows, folder, template, tmp_path)
    settings = {"model_name_or_path": str(folder)} | ({"template": template} if template else {})
    ranker = ChatRanker(load_chat_model(settings), get_format(name), RandomRanker(0))
    jinja = (ROOT / "yaml" / "ncode.jinja").read_text() if template else None
    assert len(examples) == len(asked)
    for example, row, (history, candidates, answer) in zip(examples, rows, asked):
        prompt, reply = ranker.prompt_ids(history, candidates), ranker.answer_ids(answer)
        assert example["input_ids"] == prompt + reply
        assert example["labels"] == [-100] * len(prompt) + reply
        assert trained_tokenizer.unk_token_id is None or trained_tokenizer.unk_token_id not in example["input_ids"]
        turn = [{"role": "user", "content": get_format(name).render(history, candidates).text}]
        written = trained_tokenizer.apply_chat_template(
            turn, chat_template=jinja, tokenize=False, add_generation_prompt=True
        )
        assert trained_tokenizer.encode(written, add_special_tokens=False) == prompt
        assert (
            trained_tokenizer.decode(reply, skip_special_tokens=True) == row["output"]
            and reply[-1] == trained_tokenizer.eos_token_id
        )
    ranker.close()


def test_every_format_is_covered():
    assert {f for f, _ in PAIRS} == set(FORMATS) - {"stamped"}, "stamped, of many turns: tests/test_stamped.py"


def test_the_repository_carries_the_tokenizer_that_the_tests_build():
    from transformers import AutoTokenizer

    from data_builders.tokenizer import build_tokenizer

    committed, built = AutoTokenizer.from_pretrained(ROOT / "models" / "tiny"), build_tokenizer()
    assert (
        committed.get_vocab() == built.get_vocab()
        and committed.chat_template == built.chat_template == (ROOT / "yaml" / "ncode.jinja").read_text()
    )
