"""Contact sheets: rows of pictures with their names, as one PNG."""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from search.files import write_atomic
from search.tasks.sd.base import as_image
from search.tasks.sd.space import RANKS

TILE = 64  # pixels at least of a picture on a sheet
MARGIN = 130  # pixels for the rows' names


def draw(rows: Mapping[str, Tensor], path: Path) -> Path:
    """Write a PNG with one row of pictures for each name; pictures float (n, 3, pixels, pixels) from 0 to 1."""
    from PIL import Image, ImageDraw

    first = next(iter(rows.values()))
    side = max(TILE, int(first.shape[-1]))
    width = MARGIN + side * max(len(pictures) for pictures in rows.values())
    sheet = Image.new("RGB", (width, (side + 2) * len(rows)), "white")
    pen = ImageDraw.Draw(sheet)
    for i, (name, pictures) in enumerate(rows.items()):
        pen.text((4, i * (side + 2) + side // 2 - 6), name, fill="black")
        for j, picture in enumerate(pictures):
            tile = as_image(picture).resize((side, side), Image.Resampling.NEAREST)
            sheet.paste(tile, (MARGIN + j * side, i * (side + 2)))
    buffer = io.BytesIO()
    sheet.save(buffer, "PNG")
    return write_atomic(path, buffer.getvalue())


def contact_sheet(task: Any, best: str) -> Path:
    """References, and the 11 validation prompts by the base model (class word), the lowest uniform rank, the winner."""
    from search.tasks.sd.prepare import root
    from search.tasks.sd.sample import pictures

    concept = task.concept
    base = pictures(task.base, concept.with_class(concept.valid), task.sampling, task.guidance, batch=8)
    uniform, _ = task.generated(task.learned("0" * len(task.space)), 1)
    winner, _ = task.generated(task.learned(best), 1)
    rows = {
        "references": concept.pictures[:11], f"base: a {concept.class_word}": base,
        f"uniform {RANKS[0]}": uniform, "winner": winner,
    }  # fmt: skip
    return draw(rows, root() / f"sheet-{concept.name}-{best}.png")
