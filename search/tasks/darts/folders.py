"""ImageNet's folders, read as training goes: train/<class>/*.JPEG and val/<class>/*.JPEG, without torchvision.

Training: a random part of 8 to 100 % of the picture at 224x224, mirrored half of the time, brightness, contrast,
saturation and hue jittered. Validation: the shorter side at 256, the centre 224x224.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch

from search.errors import UserError
from search.tasks.darts.recipe import Recipe

MEAN, STD = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
JITTER = (0.4, 0.4, 0.4, 0.2)  # brightness, contrast, saturation, hue, as DARTS has them
ENDINGS = (".jpg", ".jpeg", ".png", ".bmp", ".webp")
AHEAD = 4  # batches that are decoded while one is trained on


class Folder:
    """The labelled files of one part of the data set; batches as `search.tasks.darts.train.train` asks for them.

    root: the folder with one folder a class. size: pixels of a side. threads: that decode.
    """

    def __init__(self, root: Path, size: int = 224, threads: int = 8):
        classes = sorted(p for p in root.iterdir() if p.is_dir()) if root.is_dir() else []
        self.files = [(f, k) for k, c in enumerate(classes) for f in sorted(c.iterdir()) if f.suffix.lower() in ENDINGS]
        if not self.files:
            raise UserError(
                f"{root} has no pictures - folders <class>/*.JPEG are needed - give the folder of train/ and val/"
            )
        self.classes, self.size, self.threads = [c.name for c in classes], size, threads

    def __len__(self) -> int:
        return len(self.files)

    def __call__(self, epoch: int, recipe: Recipe, seed: int) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """Training batches of an epoch, decoded ahead by several threads."""
        order = np.random.default_rng([seed, epoch]).permutation(len(self.files))[: recipe.rows or None]
        jobs = ((int(i), np.random.default_rng([seed, epoch, int(i)])) for i in order)
        yield from self._batches(jobs, recipe.batch, len(order) // recipe.batch, training=True)

    def all(self, batch: int = 128) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """Every picture once, as it is validated."""
        jobs = ((i, None) for i in range(len(self.files)))
        yield from self._batches(jobs, batch, -(-len(self.files) // batch), training=False)

    def _batches(self, jobs: Iterator[Any], batch: int, count: int, training: bool) -> Iterator[Any]:
        with ThreadPoolExecutor(self.threads) as pool:

            def start() -> list[Any]:
                return [(pool.submit(self._read, i, dice), self.files[i][1]) for i, dice in islice(jobs, batch)]

            waiting = [start() for _ in range(min(AHEAD, count))]
            for done in range(count):
                if done + AHEAD < count:
                    waiting.append(start())
                ready = waiting.pop(0)
                x = np.stack([future.result() for future, _ in ready])
                yield torch.from_numpy(x), torch.tensor([label for _, label in ready])

    def _read(self, i: int, dice: np.random.Generator | None) -> np.ndarray:
        from PIL import Image

        path = self.files[i][0]
        try:
            with Image.open(path) as opened:
                picture = opened.convert("RGB")
        except (OSError, ValueError) as error:
            raise UserError(f"{path} cannot be read ({type(error).__name__}) - mend or remove it") from error
        picture = centre(picture, self.size) if dice is None else jittered(random_part(picture, self.size, dice), dice)
        values = (np.asarray(picture, dtype=np.float32) / 255 - MEAN) / STD
        return np.ascontiguousarray(np.moveaxis(values, 2, 0), dtype=np.float32)


def random_part(picture: Any, size: int, dice: np.random.Generator) -> Any:
    """A random part (8 to 100 % of the area, sides 3:4 to 4:3) at size x size, mirrored half of the time."""
    from PIL import Image

    width, height = picture.size
    for _ in range(10):
        area = width * height * dice.uniform(0.08, 1.0)
        ratio = math.exp(dice.uniform(math.log(3 / 4), math.log(4 / 3)))
        w, h = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
        if 0 < w <= width and 0 < h <= height:
            break
    else:
        w = h = min(width, height)
    left, top = int(dice.integers(0, width - w + 1)), int(dice.integers(0, height - h + 1))
    part = picture.resize((size, size), Image.Resampling.BILINEAR, box=(left, top, left + w, top + h))
    return part.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if dice.random() < 0.5 else part


def jittered(picture: Any, dice: np.random.Generator) -> Any:
    """Brightness, contrast, saturation and hue changed at random."""
    from PIL import Image, ImageEnhance

    for kind, most in zip((ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color), JITTER):
        picture = kind(picture).enhance(dice.uniform(1 - most, 1 + most))
    hue, saturation, value = picture.convert("HSV").split()
    turned = (np.asarray(hue).astype(np.int16) + round(255 * dice.uniform(-JITTER[3], JITTER[3]))) % 256
    merged = Image.merge("HSV", (Image.fromarray(turned.astype(np.uint8)), saturation, value))
    return merged.convert("RGB")


def centre(picture: Any, size: int) -> Any:
    """The shorter side at 8/7 of the size, the centre cut out."""
    from PIL import Image

    short, (width, height) = round(size * 256 / 224), picture.size
    scale = short / min(width, height)
    picture = picture.resize(
        (max(size, round(width * scale)), max(size, round(height * scale))), Image.Resampling.BILINEAR
    )
    left, top = (picture.size[0] - size) // 2, (picture.size[1] - size) // 2
    return picture.crop((left, top, left + size, top + size))
