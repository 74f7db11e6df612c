"""The untrained nano searcher: a LLaMA of a few hundred thousand parameters and a tokenizer in which every NCode
character and every evidence token is one token.

    python -m data_builders.nano_model models/nano_start --size small --seed 0

Weights start random. Tokens that are levels of one quantity (bins of a prediction, of a value) start alike when the
levels are
near: random smooth curves over the level. Tokens of one decision, and of one option, have a part in common. What they
mean is left to training.
"""

from __future__ import annotations

import argparse
import re
from pathlib import Path
from typing import Any

import numpy as np

from data_builders.tokenizer import llama_config, save_start, wrapped
from search.errors import cli, did_you_mean
from search.prompts.nano import MARK, TOKEN, vocabulary

SIZES = {"tiny": (64, 2, 4, 192), "light": (96, 3, 4, 256), "small": (128, 3, 4, 384), "base": (192, 4, 6, 576)}
SPECIAL = ["<pad>", "<s>", "</s>", "<unk>"]
CHAT = (
    "{{ bos_token }}{% for m in messages %}{% if m['role'] == 'system' %}{{ m['content'] }}"
    "{% elif m['role'] == 'user' %}{{ m['content'] + '"
    + MARK
    + "' }}{% elif m['role'] == 'assistant' %}{{ m['content'] + eos_token }}{% endif %}{% endfor %}"
)
WAVES = 6  # harmonics of a random curve over levels: smooth between neighbours, free over the range


def build_tokenizer(max_length: int = 8192) -> Any:
    """One token per character (so that the formats paper and release can be written too) and per evidence token."""
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers

    tokens = SPECIAL + ["\n"] + [chr(c) for c in range(32, 127)] + vocabulary()
    core = Tokenizer(models.WordLevel({token: i for i, token in enumerate(tokens)}, unk_token="<unk>"))
    core.pre_tokenizer = pre_tokenizers.Split(Regex(TOKEN), behavior="isolated")
    core.decoder = decoders.Fuse()
    return wrapped(core, CHAT, max_length)


def smooth_embeddings(tokens: list[str], width: int, seed: int, std: float = 0.1) -> np.ndarray:
    """Starting embeddings, float32 (tokens, width): white noise, plus for levelled tokens a random smooth curve over
    the level.
    """
    rng = np.random.default_rng(seed)
    table = rng.normal(size=(len(tokens), width)) * std
    families: dict[str, list[tuple[int, str]]] = {}
    for i, token in enumerate(tokens):
        if match := re.fullmatch(r"<([a-z]+[:~]?)(\d+)>", token):
            families.setdefault(match[1], []).append((i, match[2]))
    for name, members in families.items():
        rows = [i for i, _ in members]
        levels = [tuple(int(c) for c in text) if name.endswith("~") else (int(text),) for _, text in members]
        x = np.array(levels, dtype=np.float64)
        x = x / np.maximum(x.max(axis=0), 1)
        curve = rng.normal(size=width) * np.ones((len(rows), 1))
        for column in x.T:
            for wave in range(1, WAVES + 1):
                curve += (
                    np.cos(np.pi * wave * column[:, None] + rng.uniform(0, np.pi, width))
                    * rng.normal(size=width)
                    * 2.0
                    / wave
                )
        table[rows] = 0.15 * table[rows] + std * curve / max(float(curve.std()), 1e-9)
    marks = [
        (i, *map(int, match.groups()))
        for i, token in enumerate(tokens)
        if (match := re.fullmatch(r"<(\d+)\.(\d)>", token))
    ]
    if marks:
        rows, decisions, options = np.array(marks).T
        pitch, phase = np.exp(rng.uniform(np.log(0.1), np.log(2.5), width)), rng.uniform(0, 2 * np.pi, width)
        place = 2**0.5 * np.cos(
            decisions[:, None] * pitch + phase
        )  # so that "the next decision" is one turn for all of them
        table[rows] = 0.15 * table[rows] + std * (place + rng.normal(size=(options.max() + 1, width))[options]) / 2**0.5
    return table.astype(np.float32)


def write_start(folder: str | Path, size: str = "small", seed: int = 0) -> Path:
    """Config, tokenizer and starting weights of an untrained model; returns the folder."""
    import torch
    from transformers import LlamaForCausalLM

    if size not in SIZES:
        raise did_you_mean("size", size, SIZES)
    hidden, layers, heads, inner = SIZES[size]
    folder, tokenizer = Path(folder), build_tokenizer()
    torch.manual_seed(seed)
    config = llama_config(tokenizer, hidden, layers, heads, inner)
    config.initializer_range = 0.08
    model = LlamaForCausalLM(config)
    start = smooth_embeddings(tokenizer.convert_ids_to_tokens(range(len(tokenizer))), hidden, seed)
    model.get_input_embeddings().weight.data.copy_(torch.from_numpy(start))
    return save_start(model, tokenizer, folder, longest=64)


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m data_builders.nano_model", description="Write the untrained nano searcher."
    )
    parser.add_argument("folder")
    parser.add_argument("--size", default="small", help=", ".join(SIZES))
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    print(write_start(arguments.folder, arguments.size, arguments.seed))
    return 0


if __name__ == "__main__":
    cli(main)
