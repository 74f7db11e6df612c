"""A character tokenizer and small LLaMA shapes to train from scratch (`train_from_scratch: true`): no weights, no
download.

    python -m data_builders.tokenizer models/tiny --size tiny

Every printable character is one token, so every NCode character and every digit of a score is one; the fixed phrases of
the prompt formats are one token each, which makes a NAS-Bench-201 history line 13 tokens instead of 30. The special
tokens are those of LLaMA-Factory's `llama3` template, so that one template serves the smallest and the largest model.
"""

from __future__ import annotations

import argparse
import json
import re
from pathlib import Path
from typing import Any

from search.errors import UserError, cli, did_you_mean
from search.files import shipped
from search.prompts.formats import DIRECT_INSTRUCTION, INSTRUCTION

BOS, EOS, PAD, UNKNOWN = "<|begin_of_text|>", "<|eot_id|>", "<|pad|>", "<|unk|>"
SPECIAL = [PAD, BOS, EOS, UNKNOWN, "<|start_header_id|>", "<|end_header_id|>", "<|eom_id|>"]
CHARACTERS = ["\n"] + [chr(c) for c in range(32, 127)]
PHRASES = [
    INSTRUCTION + "\n",
    DIRECT_INSTRUCTION + "\n",
    "History:\n",
    ";\nNCode: ",
    "NCode: ",
    ", accuracy: ",
    ";\nCandidate:\n",
    "\nCandidate:\n",
    "\n\n",
    "system",
    "user",
    "assistant",
]
JINJA = shipped() / "yaml" / "ncode.jinja"


def build_tokenizer(phrases: list[str] | None = None, max_length: int = 8192) -> Any:
    """The character tokenizer as a transformers PreTrainedTokenizerFast.

    phrases: texts that become one token each.
    """
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers

    phrases = sorted(PHRASES if phrases is None else phrases, key=len, reverse=True)
    vocabulary = {token: i for i, token in enumerate(SPECIAL + phrases + CHARACTERS)}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token=UNKNOWN))
    pieces = "|".join([re.escape(p) for p in phrases] + [r"[\s\S]"])
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(pieces), behavior="isolated")
    tokenizer.decoder = decoders.Fuse()
    template = JINJA.read_text(encoding="utf-8")
    return wrapped(tokenizer, template, max_length, BOS, EOS, PAD, UNKNOWN, additional_special_tokens=SPECIAL[4:])


def wrapped(
    core: Any,
    template: str,
    max_length: int,
    bos: str = "<s>",
    eos: str = "</s>",
    pad: str = "<pad>",
    unk: str = "<unk>",
    **more: Any,
) -> Any:
    """A `tokenizers.Tokenizer` as the PreTrainedTokenizerFast that `save_start` saves.

    template: the chat template, Jinja.
    more: further settings, such as additional_special_tokens.
    """
    from transformers import PreTrainedTokenizerFast

    return PreTrainedTokenizerFast(
        tokenizer_object=core,
        bos_token=bos,
        eos_token=eos,
        pad_token=pad,
        unk_token=unk,
        chat_template=template,
        model_max_length=max_length,
        clean_up_tokenization_spaces=False,
        model_input_names=["input_ids", "attention_mask"],
        **more,
    )


def llama_config(
    tokenizer: Any, hidden: int, layers: int, heads: int, inner: int, context: int = 8192, tie: bool = True, **more: Any
) -> Any:
    """A LlamaConfig of that shape for that tokenizer; more: further settings, such as rope_theta."""
    from transformers import LlamaConfig

    return LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=hidden,
        intermediate_size=inner,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=heads,
        max_position_embeddings=context,
        tie_word_embeddings=tie,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        architectures=["LlamaForCausalLM"],
        dtype="float32",
        **more,
    )


def save_start(model: Any, tokenizer: Any, folder: Path, longest: int) -> Path:
    """Save an untrained model with its tokenizer; longest: tokens of an answer. Returns the folder."""
    from transformers import GenerationConfig

    special = {name: getattr(tokenizer, name) for name in ("bos_token_id", "eos_token_id", "pad_token_id")}
    model.generation_config = GenerationConfig(max_new_tokens=longest, do_sample=False, **special)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


SIZES = {  # hidden, layers, heads, inner
    "micro": (32, 2, 2, 64),
    "tiny": (64, 3, 4, 192),
    "1m": (128, 4, 4, 512),
    "10m": (384, 6, 6, 1024),
}


def write_model_folder(folder: str | Path, size: str = "tiny", context: int = 8192) -> Path:
    """config.json, generation_config.json and the tokenizer files of an untrained model; returns the folder."""
    from transformers import GenerationConfig

    if size not in SIZES:
        raise did_you_mean("size", size, SIZES)
    folder = Path(folder)
    if folder.is_file():
        raise UserError(f"{folder} is a file - a folder to write to is needed - give another name")
    tokenizer = build_tokenizer(max_length=context)
    tokenizer.save_pretrained(folder)
    llama_config(tokenizer, *SIZES[size], context=context).save_pretrained(folder)
    GenerationConfig(
        bos_token_id=tokenizer.bos_token_id, eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id
    ).save_pretrained(folder)
    return folder


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m data_builders.tokenizer",
        description="Write an untrained LLaMA folder: config and character tokenizer.",
    )
    parser.add_argument("folder")
    parser.add_argument("--size", default="tiny", help=", ".join(SIZES))
    parser.add_argument("--context", type=int, default=8192, help="longest sequence in tokens")
    arguments = parser.parse_args()
    folder = write_model_folder(arguments.folder, arguments.size, arguments.context)
    shape = json.loads((folder / "config.json").read_text())
    print(f"{folder}: {shape['num_hidden_layers']} layers of {shape['hidden_size']}, {shape['vocab_size']} tokens")
    return 0


if __name__ == "__main__":
    cli(main)
