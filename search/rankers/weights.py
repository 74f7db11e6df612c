"""Small models in single precision, loaded without a bar: a search has one of its own, and a pipe wants none."""

from __future__ import annotations

from pathlib import Path
from typing import Any


def load_model(folder: Path) -> Any:
    """The causal language model of a folder, ready to read; float32."""
    import torch
    from transformers import AutoModelForCausalLM
    from transformers.utils import logging

    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    finally:
        if shown:
            logging.enable_progress_bar()
