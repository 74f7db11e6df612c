"""Untrained LLaMA folders of a few thousand parameters, with tokenizers that cut digits in different ways."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from data_builders.tokenizer import CHARACTERS, SPECIAL, build_tokenizer, llama_config
from search.spaces import Seen, Space

TOKENIZERS = ("characters", "merged")


def merging_tokenizer() -> Any:
    """Like Llama-3's: up to three digits are one token, the rest are characters and a few two-letter pieces."""
    from tokenizers import Regex, pre_tokenizers
    from tokenizers.models import WordLevel

    tokenizer = build_tokenizer(phrases=[])
    numbers = [f"{i:0{width}d}" for width in (2, 3) for i in range(10**width)]
    pieces = ["ab", "a1", "\n\n", "user", "assistant", "system"]
    vocabulary = {token: i for i, token in enumerate(SPECIAL + CHARACTERS + pieces + numbers)}
    backend = tokenizer.backend_tokenizer
    backend.model = WordLevel(vocabulary, unk_token="<|unk|>")
    backend.pre_tokenizer = pre_tokenizers.Split(
        Regex(r"[0-9]{1,3}|ab|a1|\n\n|user|assistant|system|[\s\S]"), behavior="isolated"
    )
    return tokenizer


def write_model(folder: Path, tokenizer: str, context: int = 4096) -> Path:
    """A randomly initialised two-layer LLaMA with lively logits, and its tokenizer."""
    import torch
    from transformers import LlamaForCausalLM

    made = build_tokenizer(max_length=context) if tokenizer == "characters" else merging_tokenizer()
    config = llama_config(made, 32, 2, 4, 64, context=context)
    config.initializer_range = 0.4
    config.num_key_value_heads = 2
    torch.manual_seed(0)
    LlamaForCausalLM(config).save_pretrained(folder)
    made.save_pretrained(folder)
    return folder


def write_chat_yaml(path: Path, folder: Path, *lines: str) -> Path:
    """An inference YAML for a model folder."""
    path.write_text("\n".join([f"model_name_or_path: {folder}", "template: llama3", "do_sample: false", *lines]) + "\n")
    return path


def random_history(space: Space, n: int, seed: int = 0) -> list[Seen]:
    """n random codes with values like accuracies."""
    rng = np.random.default_rng(seed)
    return [Seen(c, round(float(v), 3)) for c, v in zip(space.to_codes(space.sample(rng, n)), rng.uniform(30, 95, n))]
