"""Lengths of rows in tokens, as LLaMA-Factory will see them: chat template, prompt, answer, end of text."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import jsonlines
import numpy as np

from search.errors import UserError
from search.files import find

CHUNK = 1000  # rows tokenized at once
PROBED = 8  # rows on which the template's own tokens are counted; they are the same on all
MARGIN = 16  # without a chat template: room for what LLaMA-Factory's own template adds


def load_tokenizer(folder: str | Path) -> Any:
    """The tokenizer of a model folder, or of a shipped one by its path (models/nano)."""
    folder = find(folder)
    if not Path(folder).is_dir():
        raise UserError(
            f"tokenizer folder {folder} does not exist - a folder with tokenizer.json is needed - give the model's"
            " folder"
        )
    try:
        from transformers import AutoTokenizer
    except ImportError as error:
        raise UserError(
            "counting tokens needs transformers - it is not installed - run: pip install transformers"
        ) from error
    try:
        return AutoTokenizer.from_pretrained(str(folder))
    except Exception as error:  # of three libraries, each with errors of its own
        raise UserError(
            f"{folder} holds no tokenizer that can be read ({str(error).splitlines()[0] if str(error) else error!r}) -"
            " tokenizer.json and its settings are needed - give another folder"
        ) from error


def _texts(path: Path) -> Iterator[tuple[str, str]]:
    with jsonlines.open(path) as rows:
        for row in rows.iter(type=dict, skip_invalid=True):
            yield "\n".join(p for p in (row.get("instruction"), row.get("input")) if p), str(row.get("output", ""))


def token_lengths(path: str | Path, folder: str | Path, most: int | None = None) -> np.ndarray:
    """Tokens of each row, or of the first `most`; int64 (rows,).

    The template's share is measured on the first rows and added to all.
    """
    tokenizer = load_tokenizer(folder)
    rows, out, extra = islice(_texts(Path(path)), most), [], None
    while chunk := list(islice(rows, CHUNK)):
        if extra is None:
            extra = template_tokens(tokenizer, chunk[:PROBED])
        lengths = [
            tokenizer(list(part), add_special_tokens=False, return_attention_mask=False)["input_ids"]
            for part in zip(*chunk)
        ]
        out.append(np.array([len(p) + len(a) for p, a in zip(*lengths)]) + extra)
    return np.concatenate(out) if out else np.empty(0, dtype=np.int64)


def template_tokens(tokenizer: Any, rows: list[tuple[str, str]]) -> int:
    """How many tokens the chat template adds to prompt and answer, at most over these rows."""
    if not getattr(tokenizer, "chat_template", None):
        return MARGIN
    extra = 0
    for prompt, answer in rows:
        messages = [{"role": "user", "content": prompt}, {"role": "assistant", "content": answer}]
        whole = tokenizer(tokenizer.apply_chat_template(messages, tokenize=False), add_special_tokens=False)[
            "input_ids"
        ]
        apart = [len(tokenizer(t, add_special_tokens=False)["input_ids"]) for t in (prompt, answer)]
        extra = max(extra, len(whole) - sum(apart))
    return extra
