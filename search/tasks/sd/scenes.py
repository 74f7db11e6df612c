"""A small world of pictures with captions: 16x16 pixels, generated, for the embedded base model and its concepts.

    a big red circle left on striped blue
    a small green elephant bottom on plain white             real silhouettes, from the package animal-shape-mnist
    a big red circle toy with blue star left on plain green  a toy: a body with a rim and a badge

A toy's identity is its body, badge and three colours. Pairs of body and badge that a concept has are never drawn for
the base model, so it has seen toys, and never these.
"""

from __future__ import annotations

import gzip
from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor

from search.tables.pip_tables import package_file
from search.tables.safe_pickle import PLAIN, WHOLE, loads
from search.tasks.darts.pictures import ANIMALS as ANIMAL_FILES
from search.tasks.darts.pictures import array_of

PIXELS = 16
COLOURS = {
    "red": (0.9, 0.15, 0.15), "green": (0.15, 0.65, 0.2), "blue": (0.2, 0.3, 0.9), "yellow": (0.95, 0.85, 0.2),
    "purple": (0.6, 0.2, 0.75), "orange": (0.95, 0.55, 0.1), "white": (0.95, 0.95, 0.95), "black": (0.08, 0.08, 0.08),
}  # fmt: skip
SHAPES = ("circle", "square", "triangle", "star", "ring", "cross")
BODIES = 3  # the first three shapes have room for a badge
ANIMALS = {"bird": 1, "elephant": 5, "giraffe": 6}  # word -> label in the package; three outlines that differ most
SIZES = {"small": 0.48, "big": 0.7}  # radius, the picture reaching from -1 to 1
PLACES = {"left": (-0.3, 0.0), "right": (0.3, 0.0), "top": (0.0, -0.3), "bottom": (0.0, 0.3), "middle": (0.0, 0.0)}
TEXTURES = ("plain", "striped")
CLASS = "toy"  # the concepts' class word
WORDS = ("a", CLASS, "with", "on", *SIZES, *COLOURS, *SHAPES, *ANIMALS, *PLACES, *TEXTURES)
SHARE = (0.35, 0.2, 0.45)  # of shapes, animals and toys among the base model's pictures
DESCRIBED = 0.5  # of the toys say in their caption what they are made of
NOISE = 0.01  # of the pixels
_PALETTE, _PLACE, _SIZE = (torch.tensor(list(d.values())) for d in (COLOURS, PLACES, SIZES))
_AXIS = (torch.arange(PIXELS) + 0.5) / PIXELS * 2 - 1
_Y, _X = torch.meshgrid(_AXIS, _AXIS, indexing="ij")


@dataclass(frozen=True)
class Things:
    """n things to draw.

    body, badge: index of a shape, int64 (n,); badge -1 for none, body -1 where `outline` is drawn.
    colours: of body, badge and rim, float32 (n, 3, 3); a rim is drawn where there is a badge.
    outline: silhouettes, float32 (n, 28, 28).
    words: how each is called.
    """

    body: Tensor
    badge: Tensor
    colours: Tensor
    outline: Tensor
    words: tuple[str, ...]


@dataclass(frozen=True)
class Settings:
    """Where n things stand: indices of size, place, texture and ground colour, int64 (n,) each."""

    size: Tensor
    place: Tensor
    texture: Tensor
    ground: Tensor

    def captions(self, words: tuple[str, ...] | list[str]) -> list[str]:
        """The caption of each picture, given what the thing is called."""
        sizes, places, colours = tuple(SIZES), tuple(PLACES), tuple(COLOURS)
        rows = zip(self.size.tolist(), words, self.place.tolist(), self.texture.tolist(), self.ground.tolist())
        return [f"a {sizes[s]} {w} {places[p]} on {TEXTURES[t]} {colours[g]}" for s, w, p, t, g in rows]


def draw_settings(n: int, dice: torch.Generator, avoid: Tensor | None = None) -> Settings:
    """Random settings; avoid: a colour index each that the ground does not have (-1: none)."""
    size, place, texture = (torch.randint(0, k, (n,), generator=dice) for k in (len(SIZES), len(PLACES), len(TEXTURES)))
    ground = torch.randint(0, len(COLOURS), (n,), generator=dice)
    if avoid is not None:
        other = (avoid + torch.randint(1, len(COLOURS), (n,), generator=dice)) % len(COLOURS)
        ground = torch.where(ground == avoid, other, ground)
    return Settings(size, place, texture, ground)


def draw_toys(n: int, dice: torch.Generator, without: tuple[tuple[int, int], ...] = ()) -> Things:
    """Random toys whose (body, badge) is not in `without`; half have named colours and say so."""
    pairs = [(a, b) for a in range(BODIES) for b in range(len(SHAPES)) if a != b and (a, b) not in without]
    chosen = torch.tensor(pairs)[torch.randint(0, len(pairs), (n,), generator=dice)]
    named = torch.randint(0, len(COLOURS), (n, 3), generator=dice)
    told = torch.rand(n, generator=dice) < DESCRIBED
    close = _PALETTE[named] + 0.08 * (torch.rand(n, 3, 3, generator=dice) * 2 - 1)
    colours = torch.where(told[:, None, None], close, torch.rand(n, 3, 3, generator=dice)).clamp(0, 1)
    names = tuple(COLOURS)
    words = tuple(
        f"{names[c[0]]} {SHAPES[a]} {CLASS} with {names[c[1]]} {SHAPES[b]}" if t else CLASS
        for (a, b), c, t in zip(chosen.tolist(), named.tolist(), told.tolist())
    )
    return Things(chosen[:, 0], chosen[:, 1], colours, torch.zeros(n, 28, 28), words)


def draw_scenes(n: int, dice: torch.Generator, without: tuple[tuple[int, int], ...] = ()) -> tuple[Tensor, list[str]]:
    """n pictures, float32 (n, 3, 16, 16) from 0 to 1, and their captions: what the base model learns from."""
    toys = draw_toys(n, dice, without)
    kind = torch.multinomial(torch.tensor(SHARE), n, replacement=True, generator=dice)
    colour = torch.randint(0, len(COLOURS), (n,), generator=dice)
    shape = torch.randint(0, len(SHAPES), (n,), generator=dice)
    animal = torch.randint(0, len(ANIMALS), (n,), generator=dice)
    plain = _PALETTE[colour] + 0.05 * (torch.rand(n, 3, generator=dice) * 2 - 1)
    colours = toys.colours.clone()
    colours[kind < 2, 0] = plain[kind < 2].clamp(0, 1)
    outline = torch.zeros(n, 28, 28)
    for k, masks in enumerate(silhouettes()):
        rows = torch.nonzero((kind == 1) & (animal == k)).flatten()
        outline[rows] = masks[torch.randint(0, len(masks), (len(rows),), generator=dice)]
    names, beasts = tuple(COLOURS), tuple(ANIMALS)
    words = [
        toy if k == 2 else f"{names[c]} {beasts[a] if k else SHAPES[s]}"
        for toy, k, c, s, a in zip(toys.words, *(x.tolist() for x in (kind, colour, shape, animal)))
    ]
    body = torch.where(kind == 0, shape, torch.where(kind == 1, -1, toys.body))
    things = Things(body, torch.where(kind == 2, toys.badge, -1), colours, outline, tuple(words))
    settings = draw_settings(n, dice, avoid=torch.where(kind < 2, colour, -1))
    return draw(things, settings, dice), settings.captions(words)


@cache
def silhouettes() -> list[Tensor]:
    """Different silhouettes of each animal, float32 (n, 28, 28) from 0 to 1."""
    folder = "data/Animal Shape/"
    files = [package_file("animal-shape-mnist", "animal_shape_mnist", folder + name) for name in ANIMAL_FILES]
    x, y = (array_of(loads(gzip.decompress(f.read_bytes()), f.name, {**PLAIN, **WHOLE}), f.name) for f in files)
    x, y = torch.from_numpy(x.reshape(-1, 28, 28).astype("float32") / 255), y.reshape(-1)
    return [torch.unique(x[y == label], dim=0) for label in ANIMALS.values()]


def draw(things: Things, settings: Settings, dice: torch.Generator) -> Tensor:
    """Pictures of things in settings, float32 (n, 3, 16, 16); size, position, shade and pixel noise vary."""
    n = len(things.body)
    jitter = lambda a: (torch.rand(n, 1, 1, generator=dice) * 2 - 1) * a  # noqa: E731
    radius = _SIZE[settings.size][:, None, None] * (1 + jitter(0.1))
    dx = _X - _PLACE[settings.place, 0][:, None, None] - jitter(0.06)
    dy = _Y - _PLACE[settings.place, 1][:, None, None] - jitter(0.06)
    ground = _PALETTE[settings.ground][:, :, None, None] * (1 + jitter(0.05)[:, None])
    stripes = (torch.sin((_X + _Y) * 5.0) > 0).float() * 0.25  # four dark stripes
    dark = 1 - stripes * (settings.texture == 1)[:, None, None]
    picture = ground * dark[:, None] + (settings.ground == 7)[:, None, None, None] * (1 - dark[:, None])
    inside = _inside(things.body, dx, dy, radius)
    rimmed = (things.badge >= 0)[:, None, None]
    picture = _paint(picture, inside, torch.where(rimmed[:, 0], things.colours[:, 2], things.colours[:, 0]))
    picture = _paint(picture, torch.where(rimmed, inside - 0.2 * radius, -1.0), things.colours[:, 0])
    badge = torch.where(rimmed, _inside(things.badge, dx, dy, radius * 0.45), -1.0)
    picture = _paint(picture, badge, things.colours[:, 1])
    silhouette = _placed(things.outline, dx, dy, radius)
    picture = torch.lerp(picture, things.colours[:, 0, :, None, None], silhouette[:, None])
    return (picture + NOISE * torch.randn(picture.shape, generator=dice)).clamp(0, 1)


def _inside(shape: Tensor, dx: Tensor, dy: Tensor, r: Tensor) -> Tensor:
    """How far inside its shape each pixel lies, negative outside; (n, 16, 16)."""
    a, b, d = dx.abs(), dy.abs(), (dx**2 + dy**2).sqrt()
    kinds = (
        r - d,
        0.85 * r - torch.maximum(a, b),
        torch.minimum(0.7 * r - dy, (dy + r) * 0.5 - a * 0.9),
        r * (0.66 + 0.34 * torch.cos(5 * torch.atan2(dx, -dy))) - d,
        0.25 * r - (d - 0.75 * r).abs(),
        torch.maximum(torch.minimum(0.3 * r - a, r - b), torch.minimum(0.3 * r - b, r - a)),
    )
    out = torch.full_like(dx, -1.0)
    for k, inside in enumerate(kinds):
        out = torch.where((shape == k)[:, None, None], inside, out)
    return out


def _paint(picture: Tensor, inside: Tensor, colour: Tensor) -> Tensor:
    cover = (inside * PIXELS / 2 + 0.5).clamp(0, 1)[:, None]  # edges half a pixel soft
    return torch.lerp(picture, colour[:, :, None, None].expand_as(picture), cover.expand_as(picture))


def _placed(outline: Tensor, dx: Tensor, dy: Tensor, r: Tensor) -> Tensor:
    grid = torch.stack([dx, dy], -1) / (1.15 * r[..., None])  # a silhouette leaves a margin in its frame
    return torch.nn.functional.grid_sample(outline[:, None], grid, align_corners=False)[:, 0]
