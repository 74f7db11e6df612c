"""The DARTS task: the published network, every form of the pictures, training that resumes, a search to its end."""

from __future__ import annotations

import io
import json
import os
import pickle
import signal
import subprocess
import sys
import tarfile
import time
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from search.errors import UserError
from search.spaces.nb301 import parse_genotype
from search.tasks import load_task
from search.tasks.darts import cifar, pictures, retrain
from search.tasks.darts.network import build, multiply_adds, parameters
from search.tasks.darts.picture import draw
from search.tasks.darts.recipe import RECIPES, get_recipe
from search.tasks.darts.train import InMemory, changed, score, train
from search.tasks.runs import best_codes

V2 = (
    "Genotype(normal=[('sep_conv_3x3', 0), ('sep_conv_3x3', 1), ('sep_conv_3x3', 0), ('sep_conv_3x3', 1),"
    " ('sep_conv_3x3', 1), ('skip_connect', 0), ('skip_connect', 0), ('dil_conv_3x3', 2)], normal_concat=[2, 3, 4, 5],"
    " reduce=[('max_pool_3x3', 0), ('max_pool_3x3', 1), ('skip_connect', 2), ('max_pool_3x3', 1), ('max_pool_3x3', 0),"
    " ('skip_connect', 2), ('skip_connect', 2), ('max_pool_3x3', 1)], reduce_concat=[2, 3, 4, 5])"
)
CODE = "0154033120333456144009"
TINY = get_recipe("embedded", {"channels": 2, "layers": 3, "epochs": 2, "rows": 32, "batch": 8, "calibrate": 2})


def toy(n: int = 120, size: int = 16, channels: int = 1, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Pictures whose class is a bright half: left, right."""
    rng = np.random.default_rng(seed)
    y = np.arange(n) % 2
    x = rng.integers(0, 60, (n, channels, size, size))
    x[y == 0, :, : size // 2] += 150
    x[y == 1, :, size // 2 :] += 150
    return x.astype(np.uint8), y.astype(np.int64)


def cifar_archive(path: Path, per_batch: int = 40) -> Path:
    """An archive in CIFAR-10's original form: five training batches and a test batch of generated pictures."""
    rng = np.random.default_rng(0)
    with tarfile.open(path, "w:gz") as archive:
        for name in [*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"]:
            labels = [int(v) for v in rng.integers(0, 10, per_batch)]
            table = {b"data": rng.integers(0, 256, (per_batch, 3072)).astype(np.uint8), b"labels": labels}
            content = pickle.dumps(table, protocol=2)
            entry = tarfile.TarInfo(f"cifar-10-batches-py/{name}")
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return path


def png(x: np.ndarray) -> bytes:
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(np.moveaxis(x, 0, 2)).save(buffer, "PNG")
    return buffer.getvalue()


def test_the_published_network_has_the_published_size():
    cifar = build(parse_genotype(V2), 32, channels=36, layers=20, classes=10, auxiliary=True)
    assert parameters(cifar) == 3_349_342 and round(multiply_adds(cifar, 32) / 1e6) == 528
    logits, side = cifar(torch.randn(2, 3, 32, 32), 0.2)
    assert logits.shape == side.shape == (2, 10)
    assert cifar.eval()(torch.randn(2, 3, 32, 32))[1] is None


@pytest.mark.slow
def test_the_published_imagenet_network_has_the_published_size():
    network = build(parse_genotype(V2), 224, channels=48, layers=14, classes=1000, auxiliary=True, stem="imagenet")
    assert parameters(network) == 4_718_752
    logits, side = network(torch.randn(2, 3, 224, 224))
    (logits.sum() + side.sum()).backward()
    assert logits.shape == side.shape == (2, 1000)


def test_every_operation_keeps_or_halves_the_map():
    rng = np.random.default_rng(0)
    space = load_task("darts").space
    for code in space.to_codes(space.sample(rng, 12)):
        network = build(code, 16, channels=2, layers=3, classes=3, stem="grey")
        assert network(torch.randn(2, 1, 16, 16))[0].shape == (2, 3)


def test_a_network_learns_and_the_same_seed_gives_the_same_weights():
    x, y = toy()
    batches = InMemory(x, y)
    shape = {"size": 16, "classes": 2, "stem": "grey"}
    recipe = get_recipe("embedded", {"channels": 4, "layers": 3, "epochs": 6, "rows": 0, "batch": 16, "calibrate": 4})
    one, two, other = (train(CODE, recipe, batches, shape, seed) for seed in (0, 0, 1))
    assert all(torch.equal(a, b) for a, b in zip(one.state_dict().values(), two.state_dict().values()))
    assert any(not torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters()))
    new_x, new_y = toy(seed=9)
    accuracy, loss = score(one, batches.normalised(torch.from_numpy(new_x)), torch.from_numpy(new_y))
    assert accuracy > 90 and loss < 0.5


def test_training_goes_on_to_the_same_weights(tmp_path):
    batches, shape = InMemory(*toy()), {"size": 16, "classes": 2, "stem": "grey"}
    whole = train(CODE, TINY, batches, shape, 3)

    class Stopped(Exception):
        pass

    class Batches(InMemory):
        def __call__(self, epoch, recipe, seed):
            if epoch == 1:
                raise Stopped
            return super().__call__(epoch, recipe, seed)

    with pytest.raises(Stopped):
        train(CODE, TINY, Batches(*toy()), shape, 3, tmp_path)
    resumed = train(CODE, TINY, batches, shape, 3, tmp_path)
    assert all(torch.equal(a, b) for a, b in zip(whole.state_dict().values(), resumed.state_dict().values()))
    with pytest.raises(UserError, match="another seed"):
        train(CODE, TINY, batches, shape, 4, tmp_path)
    (tmp_path / "last.pt").write_bytes(b"torn")
    with pytest.raises(UserError, match="cannot be read"):
        train(CODE, TINY, batches, shape, 3, tmp_path)


def test_pictures_are_moved_mirrored_and_blanked():
    recipe = get_recipe("cifar10-long")
    x = torch.arange(2 * 3 * 32 * 32, dtype=torch.float32).reshape(2, 3, 32, 32) + 1
    out = changed(x, recipe, torch.Generator().manual_seed(0))
    assert out.shape == x.shape and (out == 0).any() and not torch.equal(out, x)
    still = changed(x, get_recipe("cifar10", {"shift": 0}), torch.Generator().manual_seed(0))
    assert all(torch.equal(a, b) or torch.equal(a, b.flip(2)) for a, b in zip(still, x))


def test_a_split_keeps_the_classes_and_never_overlaps():
    x, y = toy(200)
    found = pictures.Pictures("toy", x, y, x, y, 2, "toy")
    rows, held = found.split(50)
    assert len(held) == 50 and len(rows) == 150 and not set(rows) & set(held)
    assert abs(int(y[held].sum()) - 25) <= 1
    with pytest.raises(UserError, match="held_out"):
        found.split(200)


def test_the_original_archive_and_its_damage(tmp_path):
    found = cifar.cifar10(cifar_archive(tmp_path / "cifar-10-python.tar.gz"))
    assert found.x.shape == (200, 3, 32, 32) and found.test_x.shape == (40, 3, 32, 32) and found.y.max() < 10
    whole = (tmp_path / "cifar-10-python.tar.gz").read_bytes()
    for damaged in (whole[: len(whole) // 2], b"not an archive", b""):
        (tmp_path / "bad.tar.gz").write_bytes(damaged)
        with pytest.raises(UserError, match="download it again"):
            cifar.cifar10(tmp_path / "bad.tar.gz")
    for missing in (None, tmp_path / "nowhere.tar.gz"):
        with pytest.raises(UserError, match=r"cifar-10-python\.tar\.gz"):
            cifar.cifar10(missing)


def test_a_malicious_batch_runs_nothing(tmp_path):
    class Bomb:
        def __reduce__(self):
            return os.system, (f"touch {tmp_path / 'ran'}",)

    content = pickle.dumps({b"data": Bomb(), b"labels": []}, protocol=2)
    with tarfile.open(tmp_path / "bad.tar.gz", "w:gz") as archive:
        entry = tarfile.TarInfo("data_batch_1")
        entry.size = len(content)
        archive.addfile(entry, io.BytesIO(content))
    with pytest.raises(UserError, match="do not trust this file"):
        cifar.cifar10(tmp_path / "bad.tar.gz")
    assert not (tmp_path / "ran").exists()


def test_parquet_and_folders(tmp_path):
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    x, y = toy(20, 32, 3)
    cells = [{"bytes": png(p), "path": None} for p in x]
    for part in ("train", "test"):
        table = pyarrow.table({"img": cells, "label": y.tolist()})
        parquet.write_table(table, tmp_path / f"{part}-00000-of-00001.parquet")
        for k, (picture, label) in enumerate(zip(x, y)):
            folder = tmp_path / "folders" / part / f"class{label}"
            folder.mkdir(parents=True, exist_ok=True)
            (folder / f"{k}.png").write_bytes(png(picture))
    found = cifar.cifar10(tmp_path)
    assert np.array_equal(found.x, x) and np.array_equal(found.y, y)
    (tmp_path / "test-00000-of-00001.parquet").write_bytes(b"PAR1 torn")
    with pytest.raises(UserError, match="whole Parquet file"):
        cifar.cifar10(tmp_path)
    by_class = cifar.cifar10(tmp_path / "folders")
    assert by_class.x.shape == x.shape and sorted(by_class.y.tolist()) == sorted(y.tolist())
    (tmp_path / "folders" / "train" / "class0" / "bad.png").write_bytes(b"no picture")
    with pytest.raises(UserError, match="cannot be read"):
        cifar.cifar10(tmp_path / "folders")


def test_animals_are_different_pictures_and_the_test_is_apart():
    pytest.importorskip("animal_shape_mnist")
    found = pictures.load("animals")
    everything = np.concatenate([found.x, found.test_x])
    assert found.x.shape == (6716, 1, 16, 16) and found.classes == 10 and len(found.test_x) == 3000
    assert len(everything) == 9716 and np.bincount(found.y).min() > 500


def cifar_task(tmp_path: Path, **more):
    data = tmp_path / "cifar.tar.gz"
    small = {"channels": 2, "layers": 3, "epochs": 1, "batch": 8, "held_out": 40}
    return load_task("darts/cifar10", data=str(data if data.exists() else cifar_archive(data)), **{**small, **more})


def test_the_task_trains_and_says_what_it_did(tmp_path):
    task = cifar_task(tmp_path)
    task.prepare(False)
    result = task.evaluate(CODE, 0)
    assert 0 <= result.value <= 100 and result.info["parameters"] > 0 and result.value == task.evaluate(CODE, 0).value
    about = task.describe()
    assert about["training_pictures"] == 160 and about["held_out"] == 40 and about["metric"] == "accuracy"
    assert cifar_task(tmp_path, metric="loss").direction == "minimize"


def test_wrong_options_are_a_sentence(tmp_path):
    for wrong in ({"recipe": "cifar"}, {"metric": "f1"}, {"epochs": 0}, {"precision": "fp8"}, {"layers": 2}):
        with pytest.raises(UserError):
            cifar_task(tmp_path, **wrong)
    with pytest.raises(UserError, match="come from packages"):
        load_task("darts", data="x").prepare(False)


def test_the_best_cells_are_trained_long_and_only_the_winner_is_tested(tmp_path, capsys):
    data = cifar_archive(tmp_path / "cifar.tar.gz")
    run = tmp_path / "run" / "seed-0"
    run.mkdir(parents=True)
    other = "1" + CODE[1:]
    rows = [{"code": c, "value": v, "state": "COMPLETE"} for c, v in ((CODE, 30.0), (other, 50.0), (CODE, 30.0))]
    (run / "trials.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows))
    (run / "summary.json").write_text(json.dumps({"direction": "maximize"}))
    small = ["--channels", "2", "--layers", "3", "--epochs", "1", "--batch", "8", "--held-out", "40"]
    words = ["--run", str(run.parent), "--pictures", "cifar10", "--data", str(data), "--recipe", "cifar10", *small]
    assert retrain.main([*words, "--out", str(tmp_path / "long")]) == 0
    found = json.loads((tmp_path / "long" / "results.json").read_text())
    assert (
        list(found["codes"]) == [other, CODE]
        and found["winner"] in found["codes"]
        and 0 <= found["test"]["accuracy"] <= 100
    )
    assert "<- chosen by validation" in capsys.readouterr().out
    with pytest.raises(UserError, match="no evaluated architecture"):
        best_codes(tmp_path, 5)


def test_imagenet_folders_train_and_validate(tmp_path):
    for part, n in (("train", 8), ("val", 3)):
        for k, picture in enumerate(toy(2 * n, 48, 3)[0]):
            folder = tmp_path / part / f"n{k % 2}"
            folder.mkdir(parents=True, exist_ok=True)
            (folder / f"{k}.JPEG").write_bytes(png(picture))
    small = ["--channels", "4", "--layers", "3", "--epochs", "1", "--batch", "4", "--size", "64", "--auxiliary", "0"]
    words = ["--code", CODE, "--folder", str(tmp_path), "--recipe", "imagenet", *small, "--precision", "fp32"]
    assert retrain.main([*words, "--out", str(tmp_path / "out")]) == 0
    assert json.loads((tmp_path / "out" / "results.json").read_text())["winner"] == CODE
    with pytest.raises(UserError, match="no pictures"):
        retrain.main([*words[:2], "--folder", str(tmp_path / "none"), "--out", str(tmp_path / "out2")])


def test_a_picture_of_both_cells_is_drawn(tmp_path):
    assert draw(CODE, tmp_path / "cells.png").read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    with pytest.raises(UserError):
        draw("0" * 21, tmp_path / "other.png")


def test_recipes_are_those_of_the_paper_and_of_darts():
    assert (RECIPES["cifar10"].epochs, RECIPES["cifar10-long"].epochs, RECIPES["imagenet"].epochs) == (10, 200, 250)
    assert RECIPES["cifar10-long"].rate(0) == 0.025 and RECIPES["cifar10-long"].rate(200) < 1e-9
    assert RECIPES["imagenet"].rate(2) == pytest.approx(0.1 * 0.97**2)


@pytest.mark.slow
def test_a_killed_retraining_goes_on(tmp_path):
    data = cifar_archive(tmp_path / "cifar.tar.gz", 200)
    small = ["--channels", "4", "--layers", "5", "--epochs", "6", "--batch", "16", "--held-out", "100"]
    words = ["--code", CODE, "--pictures", "cifar10", "--data", str(data), "--recipe", "cifar10", *small]
    command = [sys.executable, "-m", "search.tasks.darts.retrain", *words]
    killed = subprocess.Popen([*command, "--out", str(tmp_path / "killed")], stderr=subprocess.DEVNULL)
    end = time.monotonic() + 300
    while not (tmp_path / "killed" / CODE / "last.pt").exists() and time.monotonic() < end:
        time.sleep(0.05)
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    for out in ("killed", "whole"):
        assert subprocess.run([*command, "--out", str(tmp_path / out)], capture_output=True).returncode == 0
    found = [json.loads((tmp_path / out / "results.json").read_text()) for out in ("killed", "whole")]
    assert found[0] == found[1]


@pytest.mark.slow
def test_a_search_on_animals_ends_with_cells_and_the_next_command(tmp_path):
    pytest.importorskip("animal_shape_mnist")
    command = [
        sys.executable,
        "-m",
        "search.run",
        "--task",
        "darts",
        "--ranker",
        "surrogate",
        "--budget",
        "8",
        "--quiet",
    ]
    small = ["--task-option", "epochs=1", "--task-option", "rows=160", "--controls", "random"]
    done = subprocess.run([*command, *small, "--out", str(tmp_path / "run")], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "best cells: Genotype(normal=" in done.stdout and "search.tasks.darts.retrain" in done.stdout
