"""Learned concepts on disk: one safetensors file each, read without running anything."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from search.errors import UserError
from search.files import write_atomic
from search.tasks.sd.learn import Learned

FORMAT = "lm-searcher ED-LoRA 1"


def save(path: Path, learned: Learned, about: dict[str, Any]) -> Path:
    """Write a concept: LoRA factors named PART.MODULE.lora_A or lora_B, the token vectors, and facts as metadata."""
    from safetensors.torch import save as to_bytes

    tensors = {"tokens": learned.vectors.contiguous()}
    for part, found in (("unet", learned.unet), ("text", learned.text)):
        for module, (a, b) in found.items():
            tensors |= {f"{part}.{module}.lora_A": a.contiguous(), f"{part}.{module}.lora_B": b.contiguous()}
    facts = {"format": FORMAT, "placeholder": learned.name, "about": json.dumps(about)}
    return write_atomic(path, to_bytes(tensors, metadata=facts))


def load(path: Path) -> tuple[Learned, dict[str, Any]]:
    """A concept as saved, and the facts beside it; UserError if the file is none."""
    from safetensors import safe_open

    try:
        with safe_open(str(path), framework="pt") as file:
            facts = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}
        if facts.get("format") != FORMAT:
            raise ValueError("another format")
        parts: dict[str, dict[str, Any]] = {"unet": {}, "text": {}}
        for name in [n for n in tensors if n.endswith(".lora_A")]:
            part, module = name.removesuffix(".lora_A").split(".", 1)
            parts[part][module] = (tensors[name], tensors[f"{part}.{module}.lora_B"])
        found = Learned(facts["placeholder"], tensors["tokens"], parts["unet"], parts["text"])
        return found, json.loads(facts["about"])
    except Exception as error:
        raise UserError(
            f"{path} holds no learned concept ({type(error).__name__}: {error}) - give a file that"
            " search.tasks.sd.retrain wrote"
        ) from error
