"""Concepts: pictures of one thing with captions, and the prompts that it is judged in.

scene_concepts()            three toys of the small world, 15 pictures each
from_folder(path, "dog")    the user's: image/, caption/ and mask/ with equal file names, or pictures alone
                            (as google/dreambooth has them); captions then come from templates
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from search.errors import UserError
from search.tasks.sd import scenes

PICTURES = 15  # of a concept, as in the paper
ENDINGS = (".png", ".jpg", ".jpeg", ".webp", ".bmp")


@dataclass(frozen=True)
class Concept:
    """One thing to learn.

    placeholder: the word of prompts and captions that stands for it. class_word: what kind of thing it is.
    pictures: float32 (n, 3, pixels, pixels) from 0 to 1; captions: one each; masks: (n, 1, pixels, pixels) or None.
    valid, test: prompts of a search, and of the final scores; each has the placeholder.
    held_out: pictures and captions that nothing is trained on, or None.
    """

    name: str
    placeholder: str
    class_word: str
    pictures: Tensor
    captions: tuple[str, ...]
    masks: Tensor | None
    valid: tuple[str, ...]
    test: tuple[str, ...]
    held_out: tuple[Tensor, tuple[str, ...]] | None

    def with_class(self, prompts: tuple[str, ...] | list[str]) -> list[str]:
        """The prompts with the class word in the placeholder's stead: what a picture should show, and the base's."""
        return [p.replace(self.placeholder, self.class_word) for p in prompts]


# (body, badge) and colours of body, badge and rim; the pairs are kept from the base model
TOYS: dict[str, tuple[tuple[int, int], tuple[tuple[float, float, float], ...]]] = {
    "mint": ((0, 3), ((0.55, 0.95, 0.75), (0.85, 0.2, 0.5), (0.1, 0.3, 0.3))),
    "rose": ((1, 2), ((0.95, 0.6, 0.7), (0.1, 0.35, 0.25), (0.45, 0.1, 0.3))),
    "sand": ((2, 4), ((0.85, 0.75, 0.5), (0.1, 0.2, 0.5), (0.35, 0.7, 0.8))),
}
HIDDEN_PAIRS = tuple(pair for pair, _ in TOYS.values())


@cache
def scene_concepts() -> tuple[Concept, ...]:
    """The three toys: 15 pictures to learn from, 11 prompts to search with, 20 to judge by, no setting twice."""
    return tuple(_toy(name, seed) for seed, name in enumerate(TOYS))


def _toy(name: str, seed: int) -> Concept:
    (body, badge), colours = TOYS[name]
    sizes = (len(scenes.SIZES), len(scenes.PLACES), len(scenes.TEXTURES), len(scenes.COLOURS))
    dice = torch.Generator().manual_seed(1000 + seed)
    order = torch.randperm(torch.tensor(sizes).prod().item(), generator=dice)
    place = torch.stack(torch.unravel_index(order, sizes))
    parts = place.split([PICTURES, 11, 20, PICTURES, place.shape[1] - 61], dim=1)
    settings = [scenes.Settings(*part) for part in parts[:4]]
    word = f"<{name}>"
    captions = [tuple(s.captions([word] * len(s.size))) for s in settings]

    def drawn(where: scenes.Settings) -> Tensor:
        n = len(where.size)
        toy = scenes.Things(
            torch.full((n,), body), torch.full((n,), badge), torch.tensor(colours).expand(n, 3, 3),
            torch.zeros(n, 28, 28), (word,) * n,
        )  # fmt: skip
        return scenes.draw(toy, where, dice)

    learn, held = drawn(settings[0]), drawn(settings[3])
    return Concept(name, word, scenes.CLASS, learn, captions[0], None, captions[1], captions[2], (held, captions[3]))


CAPTIONS = ("a photo of {}", "a close-up photo of {}", "a good photo of {}", "a bright photo of {}", "a picture of {}")
# 11 prompts of a search and 20 of the final scores, in the kinds that DreamBooth and Mix-of-Show ask for
VALID = (
    "{}", "a photo of {}", "{} in the snow", "{} on the beach", "{} in the jungle", "{} on a city street",
    "{} near a river", "{} in front of a castle", "a painting of {}", "{} on a wooden table", "{} at sunset",
)  # fmt: skip
TEST = (
    "{} in a garden", "{} on top of a mountain", "{} in a kitchen", "{} under a tree", "{} in a library",
    "{} beside a lake", "{} on a boat", "{} in the desert", "{} in a field of flowers", "{} in the rain",
    "{} at night", "{} on a red carpet", "{} in a cave", "{} in front of the Eiffel tower", "{} on a bridge",
    "a pencil drawing of {}", "a watercolour of {}", "an oil painting of {}", "a poster of {}", "a statue of {}",
)  # fmt: skip


def from_folder(path: Path, class_word: str | None, pixels: int = 512, held_out: int = 0) -> Concept:
    """A concept of the user's; UserError if the folder does not hold one.

    held_out: the last so many pictures are not trained on.
    """
    name = re.sub(r"[^a-z0-9]+", "-", path.name.lower()).strip("-") or "concept"
    if not class_word:
        raise UserError(
            f"the concept {path} was given without its class word - it says what kind of thing it is, and the second"
            " new token starts from it - add class_word=dog, or what it is"
        )
    if not path.is_dir():
        raise UserError(f"{path} is no folder - a concept is a folder of pictures - correct it")
    root = path / "image" if (path / "image").is_dir() else path
    files = sorted(f for f in root.iterdir() if f.suffix.lower() in ENDINGS)
    if len(files) < 2:
        raise UserError(
            f"{root} has {len(files)} pictures - a concept needs at least 2, the paper takes {PICTURES} - add"
            f" {', '.join(ENDINGS)} files"
        )
    word = f"<{name}>"
    captions = tuple(_caption(path, file, i, word) for i, file in enumerate(files))
    masks = _masks(path, files, pixels)
    pictures = torch.stack([_picture(file, pixels) for file in files])
    kept = len(files) - held_out
    if kept < 2:
        raise UserError(
            f"held_out={held_out} was given for {len(files)} pictures - 2 are needed to learn from - keep at least 2"
        )
    held = (pictures[kept:], captions[kept:]) if held_out else None
    return Concept(
        name, word, class_word, pictures[:kept], captions[:kept], None if masks is None else masks[:kept],
        tuple(p.format(word) for p in VALID), tuple(p.format(word) for p in TEST), held,
    )  # fmt: skip


def _caption(path: Path, file: Path, index: int, word: str) -> str:
    """The caption beside a picture, the placeholder put in its stead or in front; a template where there is none."""
    found = path / "caption" / f"{file.stem}.txt"
    if not found.is_file():
        if (path / "caption").is_dir():
            raise UserError(f"{found} is missing - every picture needs its caption - add it, or remove the folder")
        return CAPTIONS[index % len(CAPTIONS)].format(word)
    text = " ".join(found.read_text(encoding="utf-8", errors="replace").split())
    text = re.sub(r"<[^<>]*>(\s*<[^<>]*>)*", word, text)
    return text if word in text else f"{word}, {text}"


def _picture(file: Path, pixels: int, mode: str = "RGB") -> Tensor:
    """A picture's centre square at `pixels`, float32 (channels, pixels, pixels) from 0 to 1."""
    import numpy as np
    from PIL import Image, ImageOps, UnidentifiedImageError

    try:
        with Image.open(file) as opened:
            picture: Any = ImageOps.fit(ImageOps.exif_transpose(opened).convert(mode), (pixels, pixels))
    except (UnidentifiedImageError, OSError, ValueError, Image.DecompressionBombError) as error:
        raise UserError(f"{file} cannot be read as a picture ({type(error).__name__}) - mend or remove it") from error
    values = torch.from_numpy(np.asarray(picture).copy()).float() / 255
    return values[None] if mode == "L" else values.permute(2, 0, 1)


def _masks(path: Path, files: list[Path], pixels: int) -> Tensor | None:
    if not (path / "mask").is_dir():
        return None
    known = {f.stem: f for f in (path / "mask").iterdir() if f.suffix.lower() in ENDINGS}
    missing = [f.stem for f in files if f.stem not in known]
    if missing:
        raise UserError(
            f"{path / 'mask'} has no mask for {missing[0]} ({len(missing)} are missing) - every picture needs one of"
            " its name - add them, or remove the folder"
        )
    return (torch.stack([_picture(known[f.stem], pixels, "L") for f in files]) > 0.5).float()
