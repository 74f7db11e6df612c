"""SAM: the published layouts of the seven settings, made in small, whole and damaged; training on them."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

from search.errors import UserError
from search.tasks import load_task
from search.tasks.sam import prepare, retrain, score
from search.tasks.sam.datasets import SETTINGS, find, held_out, open_setting
from search.tasks.sam.folders import Files, Mixed, read
from search.tasks.sam.model import small
from search.tasks.sam.pictures import generate

CAMO, COD = "CAMO-V.1.0-CVIU2019", "COD10K-v3/Train"
ISIC = (("Training", 8), ("Validation", 2), ("Test_v2", 3))


def save(picture: Path, mask: Path, seed: int = 0, size: tuple[int, int] = (24, 20), ones: bool = False) -> None:
    """A picture and its mask: white, or 1, in its left half."""
    from PIL import Image

    for path in (picture, mask):
        path.parent.mkdir(parents=True, exist_ok=True)
    rng, (width, height) = np.random.default_rng(seed), size
    Image.fromarray(rng.integers(0, 256, (height, width, 3), dtype=np.uint8)).save(picture)
    label = np.zeros((height, width), dtype=np.uint8)
    label[:, : width // 2] = 1 if ones else 255
    Image.fromarray(label).save(mask)


def many(images: Path, masks: Path, n: int, ending: str = ".jpg", suffix: str = "", stem: str = "p") -> None:
    for k in range(n):
        save(images / f"{stem}{k}{ending}", masks / f"{stem}{k}{suffix}.png", k)


def published(root: Path) -> Path:
    """All seven settings in their authors' folders."""
    many(root / "Kvasir-SEG/images", root / "Kvasir-SEG/masks", 20)
    many(root / "CVC-ClinicDB/Original", root / "CVC-ClinicDB/Ground Truth", 10, ".tif")
    for word, n in ISIC:
        many(
            root / f"isic2017/ISIC-2017_{word}_Data",
            root / f"isic2017/ISIC-2017_{word}_Part1_GroundTruth",
            n,
            suffix="_segmentation",
        )
    (root / "isic2017/ISIC-2017_Training_Data/p0_superpixels.png").write_bytes(b"never read")
    many(root / CAMO / "Images/Train", root / CAMO / "GT", 6, stem="train")
    many(root / CAMO / "Images/Test", root / CAMO / "GT", 3, stem="test")
    many(root / COD / "Image", root / COD / "GT_Object", 5, stem="COD10K-CAM-")
    (root / COD / "Image/COD10K-NonCAM-1.jpg").write_bytes(b"never read")
    for part, n in (("SBUTrain4KRecoveredSmall", 10), ("SBU-Test", 4)):
        many(root / part / "ShadowImages", root / part / "ShadowMasks", n)
    many(root / "leaf/data/images", root / "leaf/data/masks", 20)
    for part, n in (("train", 7), ("val", 2), ("test", 3)):
        many(root / f"road/tiff/{part}", root / f"road/tiff/{part}_labels", n, ".tiff")
    return root


def copied(root: Path, name: str, parts: dict[str, int]) -> Path:
    """A data set as AutoGluon's archives have it: tables beside folders."""
    folder = root / name / name
    for part, n in parts.items():
        many(folder / part / "images", folder / part / "masks", n, stem=part)
        with open(folder / f"{part}.csv", "w", newline="") as handle:
            table = csv.writer(handle)
            table.writerow(["", "image", "label"])
            table.writerows([k, f"{part}/images/{part}{k}.jpg", f"{part}/masks/{part}{k}.png"] for k in range(n))
    return folder


def test_every_setting_is_found_as_its_authors_publish_it(tmp_path):
    published(tmp_path)
    counts = {}
    for name in SETTINGS:
        setting = open_setting(name, tmp_path, 32)
        counts[name] = tuple(n for n, _ in setting.about().values())
        pairs = [set(f.pairs) for f in (setting.train, setting.valid[name], setting.test[name])]
        assert not (pairs[0] & pairs[1] or pairs[0] & pairs[2] or pairs[1] & pairs[2])
    assert counts == {
        "kvasir": (25, 2, 2), "cvc": (25, 2, 1), "isic2017": (8, 2, 3), "camo": (10, 1, 3), "sbu": (9, 1, 4),
        "leaf": (17, 1, 2), "road": (7, 2, 3),
    }  # fmt: skip


def test_every_setting_is_found_in_autogluons_copies(tmp_path):
    copied(tmp_path, "polyp", {"train": 6, "val": 2, "test_Kvasir": 3, "test_CVC-ClinicDB": 2})
    copied(tmp_path, "camo_sem_seg", {"train": 5, "val": 1, "test_CAMO": 2})
    for name in ("isic2017", "SBU-shadow", "leaf_disease_segmentation", "road_segmentation"):
        copied(tmp_path, name, {"train": 4, "val": 1, "test": 2})
    tests = {name: len(open_setting(name, tmp_path, 32).test[name]) for name in SETTINGS}
    assert tests == {"kvasir": 3, "cvc": 2, "isic2017": 2, "camo": 2, "sbu": 2, "leaf": 2, "road": 2}
    assert len(open_setting("cvc", tmp_path, 32).train) == 6


def test_pictures_are_resized_and_masks_stay_black_and_white(tmp_path):
    for ones in (False, True):
        save(tmp_path / "a.png", tmp_path / "m.png", ones=ones)
        x, y = read((tmp_path / "a.png", tmp_path / "m.png"), 16)
        assert x.shape == (3, 16, 16) and x.dtype == torch.uint8 and y.dtype == torch.bool
        assert y[:, :8].all() and not y[:, 8:].any()


def test_an_epoch_shows_every_picture_once_and_mirrors_some(tmp_path):
    published(tmp_path)
    source = open_setting("leaf", tmp_path, 16).train
    assert len(source) == 17
    batches = [source.batch(step, 4, 0) for step in range(4)]
    masks = torch.cat([y for _, y in batches])
    assert masks[:, :, :8].all((1, 2)).any() and masks[:, :, 8:].all((1, 2)).any()  # left as it is, right as mirrored
    plain = [torch.minimum(x.float(), x.flip(3).float()).sum().item() for b, _ in batches for x in b.split(1)]
    assert len(set(plain)) == 16
    again = source.batch(2, 4, 0)
    assert torch.equal(again[0], batches[2][0]) and not torch.equal(source.batch(6, 4, 0)[0], batches[2][0])
    shared = [sum(len(x) for x, _ in source.parts(3, rank, 2)) for rank in (0, 1)]
    assert shared == [9, 8]


def test_a_small_set_fills_a_batch_and_mixed_sources_share_it(tmp_path):
    published(tmp_path)
    few = Files(open_setting("leaf", tmp_path, 16).train.pairs[:2], 16)
    assert few.batch(0, 5, 0)[0].shape == (5, 3, 16, 16)
    mixed = Mixed((few, open_setting("sbu", tmp_path, 16).train))
    assert len(mixed) == 11 and all(mixed.batch(step, 4, 0)[0].shape == (4, 3, 16, 16) for step in range(6))


def test_what_is_held_out_is_the_same_each_time():
    pairs = [(Path(f"{k}"), Path(f"{k}m")) for k in range(30)]
    train, held = held_out(pairs)
    assert len(train) == 27 and len(held) == 3 and not set(train) & set(held) and held_out(pairs) == (train, held)


def test_missing_torn_and_mispaired_files_are_a_sentence(tmp_path):
    with pytest.raises(UserError, match="no data set polyp"):
        find("polyp", tmp_path)
    published(tmp_path)
    (tmp_path / "Kvasir-SEG/masks/p3.png").unlink()
    with pytest.raises(UserError, match=r"p3\.jpg"):
        find("polyp", tmp_path)
    torn = tmp_path / "leaf/data/images/p1.jpg"
    torn.write_bytes(torn.read_bytes()[:60])
    with pytest.raises(UserError, match="cannot be read"):
        read((torn, tmp_path / "leaf/data/masks/p1.png"), 16)
    save(tmp_path / "wide.png", tmp_path / "other.png", size=(30, 20))
    with pytest.raises(UserError, match="do not belong together"):
        read((tmp_path / "wide.png", tmp_path / "leaf/data/masks/p0.png"), 16)
    with pytest.raises(UserError, match="did you mean kvasir"):
        open_setting("kvasr", tmp_path)


def test_tables_that_lie_are_a_sentence(tmp_path):
    folder = copied(tmp_path, "isic2017", {"train": 3, "val": 1, "test": 1})
    (folder / "train/images/train1.jpg").unlink()
    with pytest.raises(UserError, match=r"train1\.jpg"):
        find("isic2017", tmp_path)
    for content in (b"picture,mask\na,b\n", b"\xff\xfe\x00", b"image,label\n"):
        (folder / "train.csv").write_bytes(content)
        with pytest.raises(UserError, match=r"train\.csv"):
            find("isic2017", tmp_path)


def test_prepare_says_what_is_there(tmp_path, capsys):
    with pytest.raises(UserError, match="none of the data sets"):
        prepare.main(["--data", str(tmp_path)])
    published(tmp_path)
    (tmp_path / "leaf/data/images/p1.jpg").write_bytes(b"torn")
    capsys.readouterr()
    assert prepare.main(["--data", str(tmp_path), "--read"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert (
        len(lines) == 7
        and "leaf      -" in lines[5]
        and all("ok train" in line for line in lines if "leaf" not in line)
    )


def checkpoint(folder: Path) -> Path:
    """A checkpoint folder as `facebook/sam-vit-...` has it, of four narrow blocks."""
    torch.manual_seed(0)
    small(4, 8).save_pretrained(folder)
    return folder


def test_a_checkpoint_is_adapted_searched_retrained_and_scored_on_files(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("LMSEARCHER_CACHE", str(tmp_path / "cache"))
    from search.tasks.sam import datasets

    wide = datasets.open_setting  # at 1024 pixels the small model would not take them
    monkeypatch.setattr(datasets, "open_setting", lambda name, root, size=64: wide(name, root, size))
    data, model = published(tmp_path / "data"), checkpoint(tmp_path / "model")
    for evaluation in ("train", "nested"):
        options = {"recipe": "proxy", "precision": "fp32", "evaluation": evaluation, "epochs": 1, "batch": 16}
        task = load_task("sam", model=str(model), data=str(data), **options)
        found = task.evaluate("0123", 0)
        assert set(found.info) == {"S kvasir", "IoU isic2017", "loss", "parameters"} and 0 <= found.value <= 100
        assert len(task.space) == 4 and task.describe()["pictures"]["kvasir"]["train"][0] == 25
    words = ["--code", "0123", "--alone", "--seeds", "0", "--model", str(model), "--data", str(data)]
    more = ["--settings", "sbu,kvasir", "--epochs", "2", "--precision", "fp32", "--out", str(tmp_path / "long")]
    assert retrain.main([*words, *more]) == 0
    assert score.main(["--run", str(tmp_path / "long"), "--data", str(data)]) == 0
    shown = capsys.readouterr().out
    assert "sbu sbu 0123: BER" in shown and "published, Conv-LoRA: S 91.9  E 94.3" in shown


def test_generated_pictures_are_a_setting_too():
    from search.tasks.sam.datasets import generated

    setting = generated(3)
    assert list(setting.valid) == list(setting.test) == ["polyps", "lesions"] and len(setting.metrics) == 5
    assert not torch.equal(setting.valid["polyps"].x, setting.test["polyps"].x)
    assert torch.equal(setting.valid["polyps"].x, generate("polyps", 3, 2 << 30).x)
