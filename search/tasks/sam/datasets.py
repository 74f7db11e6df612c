"""The seven settings of the paper's Table 3 and where their data lie.

    open_setting("kvasir", Path("datasets"))

finds, anywhere in or one folder below `datasets`, AutoGluon's copy (polyp/polyp/train.csv ...) or the data set as its
authors publish it (Kvasir-SEG/images, Kvasir-SEG/masks). Where nobody has published a split, a tenth is held out.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from search.errors import UserError, did_you_mean
from search.tasks.sam.folders import Files, Pair, listed, paired
from search.tasks.sam.folders import Mixed as Mixed

GENERATED = ("polyps", "lesions")  # the domains of the embedded default (search.tasks.sam.pictures)


@dataclass(frozen=True)
class Folders:
    """A folder of pictures and one of masks, as published.

    part: train, valid, test or all (then a tenth is held out for the test).
    name: of the test part, where a data set has several.
    """

    part: str
    images: str
    masks: str
    suffix: str = ""
    prefix: str = ""
    name: str = ""


_CAMO, _COD, _SBU = "CAMO-V.1.0-CVIU2019", "COD10K-v3/Train", "SBUTrain4KRecoveredSmall"
_ISIC = "ISIC-2017_{}_Data", "ISIC-2017_{}_Part1_GroundTruth", "_segmentation"
# data set: (its name in AutoGluon's copies, its folders as published)
DATASETS: dict[str, tuple[str, tuple[Folders, ...]]] = {
    "polyp": (
        "polyp",
        (
            Folders("all", "Kvasir-SEG/images", "Kvasir-SEG/masks", name="Kvasir"),
            Folders("all", "CVC-ClinicDB/Original", "CVC-ClinicDB/Ground Truth", name="CVC-ClinicDB"),
        ),
    ),
    "isic2017": (
        "isic2017",
        tuple(
            Folders(part, _ISIC[0].format(word), _ISIC[1].format(word), _ISIC[2])
            for part, word in (("train", "Training"), ("valid", "Validation"), ("test", "Test_v2"))
        ),
    ),
    "camo": (
        "camo_sem_seg",
        (
            Folders("train", f"{_CAMO}/Images/Train", f"{_CAMO}/GT"),
            Folders("train", f"{_COD}/Image", f"{_COD}/GT_Object", prefix="COD10K-CAM"),
            Folders("test", f"{_CAMO}/Images/Test", f"{_CAMO}/GT", name="CAMO"),
        ),
    ),
    "sbu": (
        "SBU-shadow",
        (
            Folders("train", f"{_SBU}/ShadowImages", f"{_SBU}/ShadowMasks"),
            Folders("test", "SBU-Test/ShadowImages", "SBU-Test/ShadowMasks"),
        ),
    ),
    "leaf": ("leaf_disease_segmentation", (Folders("all", "data/images", "data/masks"),)),
    "road": (
        "road_segmentation",
        tuple(
            Folders(part, f"tiff/{word}", f"tiff/{word}_labels")
            for part, word in (("train", "train"), ("valid", "val"), ("test", "test"))
        ),
    ),
}


@dataclass(frozen=True)
class Setting:
    """A column of Table 3: training, validation and test pictures with the metrics they are judged by.

    recipe: the published settings of its training.
    metrics: the first one chooses the best epoch.
    paper: {method: published values of these metrics}.
    train: a source of training pictures. valid, test: {name: pictures}.
    """

    name: str
    data: str
    test_part: str
    metrics: tuple[str, ...]
    recipe: str
    paper: dict[str, tuple[float, ...]]
    train: Any = None
    valid: dict[str, Any] = field(default_factory=dict)
    test: dict[str, Any] = field(default_factory=dict)

    def about(self) -> dict[str, Any]:
        """{part: [pictures, fingerprint]} of a setting of files."""
        parts = {"train": self.train, "valid": self.valid[self.name], "test": self.test[self.name]}
        return {part: [len(files), files.fingerprint()] for part, files in parts.items()}


def _setting(name: str, data: str, test: str, metrics: str, recipe: str, conv: str, found: str) -> Setting:
    rows = {"Conv-LoRA": conv, "LM-Searcher": found}
    paper = {method: tuple(float(v) for v in row.split()) for method, row in rows.items()}
    return Setting(name, data, test, tuple(metrics.split()), recipe, paper)


SETTINGS = {
    s.name: s
    for s in (
        _setting("kvasir", "polyp", "test_Kvasir", "S E", "polyp", "91.9 94.3", "92.4 94.7"),
        _setting("cvc", "polyp", "test_CVC-ClinicDB", "S E", "polyp", "90.1 92.3", "91.1 93.2"),
        _setting("isic2017", "isic2017", "test", "IoU", "isic2017", "77.0", "77.6"),
        _setting("camo", "camo", "test_CAMO", "S E Fw", "camo", "88.6 92.4 83.1", "88.9 92.7 83.9"),
        _setting("sbu", "sbu", "test", "BER", "sbu", "2.8", "2.6"),
        _setting("leaf", "leaf", "test", "IoU", "leaf", "73.9", "74.2"),
        _setting("road", "road", "test", "IoU", "road", "62.1", "62.6"),
    )
}


def open_setting(name: str, root: Path, size: int = 1024) -> Setting:
    """A setting with its pictures (not yet read); UserError if its data are not below root."""
    if name not in SETTINGS:
        raise did_you_mean("setting", name, SETTINGS)
    setting = SETTINGS[name]
    parts = find(setting.data, Path(root))
    if setting.test_part not in parts:
        raise UserError(
            f"{root} has {', '.join(sorted(parts))} of {setting.data} - {name} is judged on"
            f" {setting.test_part} - add it"
        )
    train, valid = parts["train"], parts.get("valid", [])
    if not valid:
        train, valid = held_out(train)
    held, tested = Files(tuple(valid), size), Files(tuple(parts[setting.test_part]), size)
    return replace(setting, train=Files(tuple(train), size), valid={name: held}, test={name: tested})


def generated(each: int) -> Setting:
    """The embedded default as one more setting: endless training pictures of both domains, every metric on each."""
    from search.tasks.sam.metrics import METRICS
    from search.tasks.sam.pictures import Endless, domains

    setting = Setting("generated", "generated", "test", tuple(METRICS), "embedded-long", {})
    valid, test = (dict(domains(GENERATED, part, each)) for part in ("valid", "test"))
    return replace(setting, train=Endless(GENERATED), valid=valid, test=test)


def find(data: str, root: Path) -> dict[str, list[Pair]]:
    """{part: pairs} of a data set below a folder: train, valid if published, test or test_NAME."""
    copied, published = DATASETS[data]
    for folder in (root / copied / copied, root / copied, root):
        if (folder / "train.csv").is_file():
            return _from_tables(folder)
    parts: dict[str, list[Pair]] = {}
    missing = []
    for entry in published:
        images, masks = (next(_places(root, data, place), None) for place in (entry.images, entry.masks))
        if images is None or masks is None:
            missing.append(entry.images if images is None else entry.masks)
            continue
        pairs, test = paired(images, masks, entry.suffix, entry.prefix), f"test_{entry.name}" if entry.name else "test"
        if entry.part == "all":
            train, tested = held_out(pairs)
            parts.setdefault("train", []).extend(train)
            parts[test] = tested
        else:
            parts.setdefault(test if entry.part == "test" else entry.part, []).extend(pairs)
    if "train" not in parts:
        raise UserError(
            f"{root} has no data set {data} - {copied}/{copied}/train.csv or {', '.join(missing)} is looked for -"
            " unpack it there (recipes/search/sam.yaml says where to get it)"
        )
    return parts


def held_out(pairs: list[Pair]) -> tuple[list[Pair], list[Pair]]:
    """(nine tenths, one tenth), the same ones each time; at least one picture is held out."""
    order = np.random.default_rng(0).permutation(len(pairs))
    n = max(1, len(pairs) // 10)
    return [pairs[i] for i in sorted(order[n:])], [pairs[i] for i in sorted(order[:n])]


def _from_tables(folder: Path) -> dict[str, list[Pair]]:
    names = {"train": "train", "val": "valid", "test": "test"}
    tables = {f.stem: f for f in sorted(folder.glob("*.csv")) if f.stem in names or f.stem.startswith("test_")}
    return {names.get(stem, stem): listed(table, folder) for stem, table in tables.items()}


def _places(root: Path, data: str, place: str) -> Iterator[Path]:
    yield from (p for p in (root / place, root / data / place) if p.is_dir())
    if root.is_dir():
        yield from (p / place for p in sorted(root.iterdir()) if (p / place).is_dir())
