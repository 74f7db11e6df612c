"""Generated pictures with one object each: salient things to pre-train on, and two domains the model never saw.

    generate("salient", 64, seed=1)     textured backgrounds, one object of another texture with a clear border
    generate("polyps", 64, seed=1)      red folds, a dome of nearly the same colour, highlights, a dark rim
    generate("lesions", 64, seed=1)     skin, a darker patch with a frayed border, hairs

Without limit; what a seed gives never changes. No seed of one split is a seed of another (`seed_of`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch.nn import functional as F

from search.errors import UserError, did_you_mean
from search.tasks.sam.model import SIZE

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # ImageNet's, as SAM is trained
SPLITS = {"train": 1, "valid": 2, "test": 3}


@dataclass(frozen=True)
class Pictures:
    """Pictures in memory.

    x: uint8 (n, 3, size, size).
    y: bool (n, size, size), the object.
    """

    x: torch.Tensor
    y: torch.Tensor

    def __len__(self) -> int:
        return len(self.x)

    def parts(self, n: int = 256, rank: int = 0, world: int = 1) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """Every picture once, n at a time; of several processes each takes its share."""
        yield from zip(self.x[rank::world].split(n), self.y[rank::world].split(n))


def normalised(x: torch.Tensor) -> torch.Tensor:
    """Pictures as SAM reads them, float32; x: uint8."""
    mean, std = (torch.tensor(v, device=x.device)[:, None, None] for v in (MEAN, STD))
    return (x.float() / 255 - mean) / std


def generate(kind: str, n: int, seed: int, size: int = SIZE) -> Pictures:
    """n pictures of a kind."""
    if kind not in KINDS:
        raise did_you_mean("kind of pictures", kind, KINDS)
    picture, mask = KINDS[kind](_Dice(n, size, seed))
    return Pictures((picture.clamp(0, 1) * 255).round().to(torch.uint8), mask)


def seed_of(split: str, series: int = 0, step: int = 0) -> int:
    """The seed of a split's pictures, one number for each (split, series, step).

    series (the seed of a training) is below 1,024 and step below 2 ** 20: torch reads no more than 32 bits of a seed.
    """
    if not (0 <= series < 1 << 10 and 0 <= step < 1 << 20):
        raise UserError(f"seed {series}, step {step} were asked for - seeds go to 1023, steps to {(1 << 20) - 1}")
    return (SPLITS[split] << 30) + (series << 20) + step


def domains(kinds: Sequence[str], split: str, each: int, size: int = SIZE) -> dict[str, Pictures]:
    """`each` pictures of every kind from a split that is held back from training."""
    return {kind: generate(kind, each, seed_of(split), size) for kind in kinds}


@dataclass(frozen=True)
class Endless:
    """Fresh training pictures at every step, the kinds in equal shares (a `Source` of search.tasks.sam.train)."""

    kinds: tuple[str, ...]
    size: int = SIZE
    length: int = 1024  # what an epoch would be

    def __len__(self) -> int:
        return self.length

    def batch(self, step: int, n: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
        """n pictures that depend on step and seed alone; the kinds alternate, so that processes get a share of each."""
        many = -(-n // len(self.kinds))
        parts = [generate(kind, many, seed_of("train", seed, step), self.size) for kind in self.kinds]
        x = torch.stack([p.x for p in parts], dim=1).flatten(0, 1)[:n]
        return x, torch.stack([p.y for p in parts], dim=1).flatten(0, 1)[:n]


class _Dice:
    """Random shapes and colours for n pictures at once."""

    def __init__(self, n: int, size: int, seed: int):
        self.n, self.size, self.source = n, size, torch.Generator().manual_seed(seed)
        line = torch.linspace(-1, 1, size)
        self.y, self.x = torch.meshgrid(line, line, indexing="ij")

    def between(self, low: float, high: float, channels: int = 1) -> torch.Tensor:
        """Uniform numbers, (n, channels, 1, 1)."""
        return low + (high - low) * torch.rand(self.n, channels, 1, 1, generator=self.source)

    def cloud(self, grid: int, channels: int = 1) -> torch.Tensor:
        """Smooth noise of deviation about 1, (n, channels, size, size), whose grains are size / grid pixels wide."""
        coarse = torch.randn(self.n, channels, grid, grid, generator=self.source)
        return F.interpolate(coarse, size=(self.size, self.size), mode="bicubic", align_corners=False)

    def grain(self) -> torch.Tensor:
        """The noise of a camera."""
        return 0.02 * torch.randn(self.n, 3, self.size, self.size, generator=self.source)

    def outline(self, low: float, high: float, rough: float, spread: float) -> tuple[torch.Tensor, torch.Tensor]:
        """A star-shaped outline: (signed distance, positive inside; radius as a share of the outline's), each
        (n, 1, size, size).
        """
        across, down = self.x - self.between(-spread, spread), self.y - self.between(-spread, spread)
        turn, flat = self.between(0, math.pi), self.between(0.55, 1.0)
        u = across * turn.cos() + down * turn.sin()
        v = (down * turn.cos() - across * turn.sin()) / flat
        angle, far = torch.atan2(v, u), (u**2 + v**2).sqrt()
        edge = torch.ones_like(far)
        for k in range(2, 8):
            edge = edge + rough * self.between(-1, 1) / math.sqrt(k) * torch.cos(
                k * angle + self.between(0, 2 * math.pi)
            )
        edge = self.between(low, high) * edge.clamp(min=0.3)
        return edge - far, far / edge

    def texture(self) -> torch.Tensor:
        """A coloured texture of any grain, (n, 3, size, size)."""
        grains = torch.stack([self.cloud(g, 3) for g in (3, 8, 24)])
        which = torch.randint(0, 3, (self.n,), generator=self.source)
        return self.between(0.1, 0.9, 3) + self.between(0, 0.15) * grains[which, torch.arange(self.n)]


def salient(dice: _Dice) -> tuple[torch.Tensor, torch.Tensor]:
    """One thing of another texture than its surroundings, lit from a side."""
    distance, _ = dice.outline(0.3, 0.7, 0.2, 0.4)
    soft = torch.sigmoid(distance * dice.between(20, 60))
    picture = dice.texture() * (1 - soft) + dice.texture() * soft
    light = 1 + dice.between(-0.2, 0.2) * dice.x + dice.between(-0.2, 0.2) * dice.y
    return picture * light + dice.grain(), distance[:, 0] > 0


def polyps(dice: _Dice) -> tuple[torch.Tensor, torch.Tensor]:
    """A dome on folded tissue: it differs by its shading and a little in hue; highlights and a dark rim distract."""
    tissue = torch.cat([dice.between(0.6, 0.85), dice.between(0.28, 0.45), dice.between(0.2, 0.36)], dim=1)
    turn = dice.between(0, math.pi)
    wave = (dice.x * turn.cos() + dice.y * turn.sin()) * dice.between(4, 9) + 2.5 * dice.cloud(4)
    folds = 1 + dice.between(0.05, 0.15) * torch.sin(wave)
    wall = (tissue + 0.05 * dice.cloud(4, 3) + 0.03 * dice.cloud(16)) * folds
    distance, share = dice.outline(0.28, 0.65, 0.12, 0.4)
    dome = (1 - share.clamp(max=1) ** 2) * dice.between(0.08, 0.28)
    hue = torch.cat([dice.between(-0.02, 0.1), dice.between(-0.05, 0.08), dice.between(-0.05, 0.08)], dim=1)
    bump = (tissue + hue + 0.05 * dice.cloud(8, 3)) * (1 + dome + dice.between(-0.15, 0.15) * dice.x)
    soft = torch.sigmoid(distance * dice.between(16, 40))
    picture = wall * (1 - soft) + bump * soft
    highlights = 0.5 * (dice.cloud(12) > 2.0)
    rim = 1 - 0.35 * (dice.x**2 + dice.y**2) * dice.between(0.3, 1.2)
    return (picture + highlights) * rim + dice.grain(), distance[:, 0] > 0


def lesions(dice: _Dice) -> tuple[torch.Tensor, torch.Tensor]:
    """A darker patch of skin with a frayed border, under hairs."""
    skin = dice.between(0.55, 1.0) * torch.tensor([0.95, 0.75, 0.62])[:, None, None]
    distance, _ = dice.outline(0.32, 0.7, 0.3, 0.3)
    distance = distance + 0.06 * dice.cloud(8)
    depth = torch.sigmoid(distance * dice.between(8, 30)) * dice.between(0.25, 0.9)
    dark = torch.cat([dice.between(0.25, 0.6), dice.between(0.12, 0.4), dice.between(0.1, 0.35)], dim=1)
    surface = skin + 0.03 * dice.cloud(6, 3) + 0.02 * dice.cloud(32)
    picture = surface * (1 - depth) + (dark + 0.08 * dice.cloud(8, 3)) * depth
    for _ in range(6):
        turn, bend = dice.between(0, math.pi), dice.between(-0.6, 0.6)
        along = dice.x * turn.sin() - dice.y * turn.cos()
        hair = (dice.x * turn.cos() + dice.y * turn.sin() + bend * along**2 - dice.between(-1, 1)).abs() < 0.018
        picture = picture * (1 - 0.6 * (hair & (dice.between(0, 1) < 0.6)))
    return picture + dice.grain(), distance[:, 0] > 0


KINDS: dict[str, Callable[[_Dice], tuple[torch.Tensor, torch.Tensor]]] = {
    "salient": salient,
    "polyps": polyps,
    "lesions": lesions,
}
