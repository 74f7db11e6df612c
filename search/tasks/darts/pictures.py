"""Pictures to train on: CIFAR-10's archive, its Parquet form, a folder of images, or what Python packages ship.

    load("animals")                          silhouettes of ten animals, 28x28, from the package animal-shape-mnist
    load("photos")                           crops of photographs from scikit-image and scikit-learn: which one is it?
    load("cifar10", "cifar-10-python.tar.gz")    also a folder of .parquet files, or train/<class>/*.png,
    test/<class>/*.png

Test pictures are apart from the beginning; what a search validates on is a held-out part of the training pictures.
"""

from __future__ import annotations

import gzip
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from search.errors import UserError
from search.registry import build
from search.tables.pip_tables import package_file
from search.tables.safe_pickle import PLAIN, WHOLE, WholeArray, loads

ANIMALS = "animal_data_version_3.gz", "animal_label_version_3.gz"
SMALL = 16  # pixels of the embedded sets: a cell trains in seconds on one core
PHOTO_FILES = (
    "astronaut.png", "chelsea.png", "coffee.png", "rocket.jpg", "hubble_deep_field.jpg", "ihc.png", "retina.jpg",
    "motorcycle_left.png", "brick.png", "grass.png", "gravel.png", "camera.png", "moon.png", "coins.png", "page.png",
    "text.png",
)  # fmt: skip


@dataclass(frozen=True)
class Pictures:
    """Labelled pictures in memory.

    x: uint8 (n, channels, height, width).
    y: int64 (n,), below `classes`.
    test_x, test_y: the same, held back for the winner.
    name, source: for the run's summary.
    """

    name: str
    x: np.ndarray
    y: np.ndarray
    test_x: np.ndarray
    test_y: np.ndarray
    classes: int
    source: str

    @property
    def size(self) -> int:
        """Pixels of a side."""
        return int(self.x.shape[-1])

    @property
    def stem(self) -> str:
        """The stem that takes these pictures: one input channel or three."""
        return "grey" if self.x.shape[1] == 1 else "cifar"

    def split(self, held_out: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
        """(training, validation) row numbers; the same for every architecture, classes in equal shares."""
        if not 0 < held_out < len(self.y):
            raise UserError(
                f"held_out={held_out} was given - {self.name} has {len(self.y)} training pictures - keep fewer"
            )
        rng = np.random.default_rng([seed, held_out])
        order = rng.permutation(len(self.y))
        place = np.empty(len(order))
        for label in range(self.classes):
            rows = order[self.y[order] == label]
            place[rows] = (np.arange(len(rows)) + rng.random()) / max(len(rows), 1)
        ranked = np.argsort(place, kind="stable")
        return np.sort(ranked[held_out:]), np.sort(ranked[:held_out])


SETS = {
    "animals": "search.tasks.darts.pictures:animals",
    "photos": "search.tasks.darts.pictures:photos",
    "cifar10": "search.tasks.darts.cifar:cifar10",
}


def load(name: str, data: str | Path | None = None) -> Pictures:
    """The pictures called `name`; data: the user's file or folder (cifar10 only)."""
    return build("picture set", name, SETS, data=data)


def animals(data: Any = None) -> Pictures:
    """9,716 different silhouettes of ten animals at 16x16; exact repeats are dropped before anything is split."""
    _no_data("animals", data)
    folder = "data/Animal Shape/"
    files = [package_file("animal-shape-mnist", "animal_shape_mnist", folder + name) for name in ANIMALS]
    x, y = (array_of(loads(gzip.decompress(f.read_bytes()), f.name, {**PLAIN, **WHOLE}), f.name) for f in files)
    x, y = x.reshape(-1, 28, 28), y.reshape(-1)
    _, first = np.unique(x.reshape(len(x), -1), axis=0, return_index=True)
    keep = np.random.default_rng(0).permutation(np.sort(first))
    small = shrunk(x[keep].astype(np.float64), SMALL)[:, None]
    y = np.unique(y[keep], return_inverse=True)[1].astype(np.int64)
    cut = len(keep) - 3000  # the last 3,000 are the test
    return Pictures("animals", small[:cut], y[:cut], small[cut:], y[cut:], 10, "animal-shape-mnist (MIT)")


def shrunk(x: np.ndarray, size: int) -> np.ndarray:
    """Pictures averaged down to size x size, uint8; x: (n, height, width), values 0 to 255."""

    def weights(n: int) -> np.ndarray:
        edges = np.linspace(0, n, size + 1)
        low, high = edges[:-1, None], edges[1:, None]
        cover = np.clip(np.minimum(high, np.arange(n) + 1) - np.maximum(low, np.arange(n)), 0, 1)
        return cover / cover.sum(axis=1, keepdims=True)

    out = weights(x.shape[1]) @ x @ weights(x.shape[2]).T
    return np.clip(np.rint(out), 0, 255).astype(np.uint8)


def photos(data: Any = None, per_class: int = 240) -> Pictures:
    """Crops of 18 photographs and textures; the left 55 % of each is for training, the right 40 % for the test."""
    _no_data("photos", data)
    if not (find_spec("skimage") and find_spec("sklearn")):
        raise UserError(
            "darts/photos needs scikit-image and scikit-learn - they are not installed - pip install scikit-image"
            " scikit-learn"
        )
    import skimage.io
    from skimage import data as shipped
    from sklearn.datasets import load_sample_images

    root = Path(shipped.__file__).parent
    images = [skimage.io.imread(root / f) for f in PHOTO_FILES] + list(load_sample_images().images)
    rng = np.random.default_rng(0)
    parts = [_crops(images, rng, low, high, per_class) for low, high in ((0.0, 0.55), (0.6, 1.0))]
    (x, y), (test_x, test_y) = parts
    return Pictures("photos", x, y, test_x, test_y, len(images), "scikit-image, scikit-learn (their licences)")


def _crops(images: list[Any], rng: np.random.Generator, low: float, high: float, per_class: int) -> Any:
    x, y = [], []
    for label, image in enumerate(images):
        picture = (image if image.ndim == 3 else np.repeat(image[..., None], 3, axis=2))[..., :3].astype(np.float64)
        height, width = picture.shape[:2]
        for _ in range(per_class):
            side = min(int(rng.integers(SMALL, 3 * SMALL)), int((high - low) * width) - 1, height - 1)
            left = int(rng.integers(int(low * width), int(high * width) - side + 1))
            top = int(rng.integers(0, height - side + 1))
            crop = np.moveaxis(picture[top : top + side, left : left + side], 2, 0)
            crop = 0.35 * crop + 0.65 * crop.mean(axis=0)  # colour alone must not decide
            crop = (crop - crop.mean()) / (crop.std() + 12) * rng.uniform(0.7, 1.3)  # nor brightness and contrast
            x.append(shrunk(np.clip(128 + 50 * crop, 0, 255), SMALL))
            y.append(label)
    order = rng.permutation(len(x))
    return np.array(x)[order], np.array(y, dtype=np.int64)[order]


def array_of(found: Any, what: str) -> np.ndarray:
    """The array that the restricted reader found; UserError when it found something else."""
    if not isinstance(found, WholeArray):
        raise UserError(f"{what} holds a {type(found).__name__} - a numpy array is needed - download it again")
    return found.array


def _no_data(name: str, data: Any) -> None:
    if data is not None:
        raise UserError(f"data={data} was given for darts/{name} - its pictures come from packages - leave it out")
