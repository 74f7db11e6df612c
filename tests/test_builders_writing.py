"""Same seed, same bytes: whatever the workers, the hash seed, a kill or a shard.

Nothing half-written is ever visible.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import jsonlines
import numpy as np
import pytest

from data_builders.registry import read_registry, register
from search.errors import UserError, WorkLost

REPOSITORY = Path(__file__).resolve().parent.parent
needs_proc = pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="lists children as Linux does")
TINY = ["--history", "5-20", "--registry", "none", "--quiet"]


def builder(name, *options, cwd, **environment):
    """A finished builder process."""
    return subprocess.run(
        command(name, *options), cwd=cwd, env=settings(**environment), capture_output=True, text=True, timeout=300
    )


def command(name, *options):
    return [sys.executable, "-m", f"data_builders.{name}", *map(str, options)]


def settings(**more):
    return {**os.environ, "PYTHONPATH": str(REPOSITORY), "OMP_NUM_THREADS": "1", **more}


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    """A CSV of 2,160 codes."""
    folder = tmp_path_factory.mktemp("table")
    rng = np.random.default_rng(0)
    sizes = (4, 3, 5, 2, 6, 3)
    effects = [rng.normal(size=n) for n in sizes]
    lines = ["arch,acc"]
    for code in np.ndindex(*sizes):
        lines.append(
            "".join(map(str, code)) + f",{60 + sum(e[d] for e, d in zip(effects, code)) * 4 + rng.normal():.3f}"
        )
    path = folder / "runs.csv"
    path.write_text("\n".join(lines) + "\n")
    return path


def options(table, out, *more):
    return ["--source", table, "--code-column", "arch", "--metric", "acc", "--out", out, *TINY, *more]


def test_bytes_do_not_depend_on_workers_or_hash_seed(table, tmp_path):
    built = []
    for i, (workers, seed) in enumerate([(1, "0"), (2, "1"), (3, "random")]):
        done = builder(
            "table",
            *options(table, tmp_path / f"{i}.jsonl", "--samples", 3000, "--workers", workers),
            cwd=tmp_path,
            PYTHONHASHSEED=seed,
        )
        assert done.returncode == 0, done.stderr
        built.append(tuple((tmp_path / f"{i}{end}").read_bytes() for end in (".jsonl", ".truth.npy")))
    assert built[0] == built[1] == built[2]
    metas = [json.loads((tmp_path / f"{i}.meta.json").read_text()) for i in range(3)]
    assert {m["sha256"] for m in metas} == {metas[0]["sha256"]} and metas[0]["counts"]["rows"] == 3000
    other = builder("table", *options(table, tmp_path / "other.jsonl", "--samples", 300, "--seed", 1), cwd=tmp_path)
    assert (
        other.returncode == 0
        and (tmp_path / "other.jsonl").read_bytes() != built[0][0][: (tmp_path / "other.jsonl").stat().st_size]
    )


def test_fewer_rows_are_the_first_rows_and_shards_are_parts(table, tmp_path):
    whole = tmp_path / "whole.jsonl"
    assert builder("table", *options(table, whole, "--samples", 1500), cwd=tmp_path).returncode == 0
    assert builder("table", *options(table, tmp_path / "few.jsonl", "--samples", 400), cwd=tmp_path).returncode == 0
    assert whole.read_bytes().startswith((tmp_path / "few.jsonl").read_bytes())
    parts = []
    for i in range(3):
        assert (
            builder(
                "table",
                *options(table, tmp_path / f"part{i}.jsonl", "--samples", 1500, "--shard", f"{i}/3"),
                cwd=tmp_path,
            ).returncode
            == 0
        )
        parts.append((tmp_path / f"part{i}.jsonl").read_bytes())
    assert b"".join(parts) == whole.read_bytes()
    assert len(np.load(tmp_path / "part1.truth.npy")) == 500


def test_lines_are_what_jsonlines_writes_and_datasets_reads(table, tmp_path):
    out = tmp_path / "rows.jsonl"
    assert builder("table", *options(table, out, "--samples", 200), cwd=tmp_path).returncode == 0
    with jsonlines.open(out) as reader:
        rows = list(reader)
    with jsonlines.open(tmp_path / "again.jsonl", "w") as writer:
        writer.write_all(rows)
    assert (tmp_path / "again.jsonl").read_bytes() == out.read_bytes()
    assert all(list(r) == ["instruction", "input", "output"] for r in rows)
    datasets = pytest.importorskip("datasets")
    loaded = datasets.load_dataset("json", data_files=str(out), split="train", cache_dir=str(tmp_path / "cache"))
    assert loaded.to_list() == rows


def started(table, out, tmp_path, samples=60_000):
    """A running build that has at least two tasks in its journal."""
    words = command("table", *options(table, out, "--samples", samples, "--workers", 2))
    process = subprocess.Popen(words, cwd=tmp_path, env=settings(), stderr=subprocess.PIPE, stdout=subprocess.PIPE)
    journal = out.with_name(f".{out.name}.work") / "journal"
    wait_until(lambda: journal.exists() and journal.read_bytes().count(b"\n") >= 2, process)
    return process, journal


def wait_until(happened, process):
    deadline = time.monotonic() + 300
    while not happened():
        assert process.poll() is None and time.monotonic() < deadline, process.stderr.read()
        time.sleep(0.01)


def visible(folder):
    return sorted(p.name for p in folder.iterdir() if not p.name.startswith("."))


def test_killed_half_way_and_started_again(table, tmp_path):
    samples = 20_000
    calm = tmp_path / "calm"
    calm.mkdir()
    assert builder("table", *options(table, calm / "rows.jsonl", "--samples", samples), cwd=tmp_path).returncode == 0
    folder = tmp_path / "killed"
    folder.mkdir()
    out = folder / "rows.jsonl"
    for _ in range(2):
        process, journal = started(table, out, tmp_path, samples)
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert visible(folder) == []
    kept = journal.read_bytes().count(b"\n")
    assert kept >= 2
    with open(journal.with_name("rows"), "ab") as rows, open(journal, "ab") as log:  # a torn end, as after a power cut
        rows.write(b'{"instruction": "half a ro')
        log.write(b'{"task": 99, "byt')
    done = builder("table", *options(table, out, "--samples", samples), cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    for end in (".jsonl", ".truth.npy", ".meta.json"):
        assert out.with_suffix(end).read_bytes() == (calm / f"rows{end}").read_bytes()
    assert visible(folder) == ["rows.jsonl", "rows.meta.json", "rows.truth.npy"] and not journal.parent.exists()


@pytest.mark.slow
def test_a_changed_partial_file_is_not_trusted(table, tmp_path):
    samples, calm = 6000, tmp_path / "calm.jsonl"
    assert builder("table", *options(table, calm, "--samples", samples), cwd=tmp_path).returncode == 0
    out = tmp_path / "rows.jsonl"
    process, journal = started(table, out, tmp_path, samples)
    process.send_signal(signal.SIGKILL)
    process.wait()
    data = bytearray(journal.with_name("rows").read_bytes())
    data[len(data) // 4] ^= 1
    journal.with_name("rows").write_bytes(bytes(data))
    assert builder("table", *options(table, out, "--samples", samples), cwd=tmp_path).returncode == 0
    assert out.read_bytes() == calm.read_bytes()


def test_interrupt_leaves_no_partial_file_and_says_how_to_go_on(table, tmp_path):
    out = tmp_path / "rows.jsonl"
    process, _ = started(table, out, tmp_path)
    process.send_signal(signal.SIGINT)
    text, errors = process.communicate(timeout=60)
    assert process.returncode == 130 and visible(tmp_path) == []
    assert b"run the same command again to continue" in text and b"Traceback" not in text + errors


@pytest.mark.slow
def test_another_command_does_not_reuse_the_work(table, tmp_path):
    out = tmp_path / "rows.jsonl"
    process, _ = started(table, out, tmp_path)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert builder("table", *options(table, out, "--samples", 500, "--seed", 7), cwd=tmp_path).returncode == 0
    assert (
        builder("table", *options(table, tmp_path / "b.jsonl", "--samples", 500, "--seed", 7), cwd=tmp_path).returncode
        == 0
    )
    assert out.read_bytes() == (tmp_path / "b.jsonl").read_bytes()


@pytest.mark.slow
def test_two_builds_of_one_file_do_not_mix(table, tmp_path):
    out = tmp_path / "rows.jsonl"
    process, _ = started(table, out, tmp_path)
    second = builder("table", *options(table, out, "--samples", 100), cwd=tmp_path)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert second.returncode == 2 and "another process is building" in second.stderr


def workers_of(process):
    """The worker processes of a running builder, forked or spawned."""
    found = []
    for pid in Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split():
        words = Path(f"/proc/{pid}/cmdline").read_bytes()
        if b"resource_tracker" not in words:
            found.append(int(pid))
    return found


@needs_proc
def test_a_killed_worker_ends_the_build_with_a_sentence_and_the_same_command_goes_on(table, tmp_path):
    samples, calm = 20_000, tmp_path / "calm.jsonl"
    assert builder("table", *options(table, calm, "--samples", samples), cwd=tmp_path).returncode == 0
    out = tmp_path / "rows.jsonl"
    process, journal = started(table, out, tmp_path, samples)
    os.kill(workers_of(process)[0], signal.SIGKILL)
    text, errors = process.communicate(timeout=120)
    assert process.returncode == 1 and not out.exists()
    assert errors.decode().startswith("error: a worker process was killed") and errors.count(b"\n") == 1
    assert journal.read_bytes().count(b"\n") >= 2
    assert builder("table", *options(table, out, "--samples", samples), cwd=tmp_path).returncode == 0
    assert out.read_bytes() == calm.read_bytes()


@needs_proc
def test_a_killed_worker_of_the_synthetic_builder_too(tmp_path):
    words = ["--samples", 3 * 960, "--registry", "none", "--answers", "0.1", "--quiet", "--workers"]
    assert builder("synthetic", *words, 1, "--out", tmp_path / "calm.jsonl", cwd=tmp_path).returncode == 0
    out = tmp_path / "rows.jsonl"
    process = subprocess.Popen(
        command("synthetic", *words, 2, "--out", out), cwd=tmp_path, env=settings(), stderr=subprocess.PIPE
    )
    journal = tmp_path / ".rows.jsonl.work" / "journal"
    wait_until(lambda: journal.exists() and journal.read_bytes().count(b"\n") >= 1, process)
    os.kill(workers_of(process)[-1], signal.SIGKILL)
    errors = process.communicate(timeout=120)[1]
    assert process.returncode == 1 and b"a worker process was killed" in errors and b"Traceback" not in errors
    assert not out.exists() and journal.exists()
    assert builder("synthetic", *words, 2, "--out", out, cwd=tmp_path).returncode == 0
    for name in ("{}.jsonl", "{}_answers.jsonl"):
        assert (tmp_path / name.format("rows")).read_bytes() == (tmp_path / name.format("calm")).read_bytes()


def test_a_full_disk_is_a_sentence_before_the_rows_are_built(table, tmp_path, monkeypatch):
    """The room is measured after the first task, not after the last."""
    from data_builders import table as module

    monkeypatch.setattr("shutil.disk_usage", lambda folder: shutil._ntuple_diskusage(10**9, 10**9 - 10**6, 10**6))
    words = options(table, tmp_path / "rows.jsonl", "--samples", 50_000, "--workers", 1)
    monkeypatch.setattr(sys, "argv", ["table", *map(str, words)])
    with pytest.raises(WorkLost, match=r"needs about 0\.\d GB more - 0\.0 GB are free"):
        module.main()
    assert visible(tmp_path) == [] and not (tmp_path / ".rows.jsonl.work" / "journal").read_bytes()


@pytest.mark.skipif(os.name == "nt", reason="limits of processes as Unix has them")
def test_a_disk_that_fills_up_on_the_way_keeps_what_is_finished(table, tmp_path):
    import resource

    def no_more_than_a_megabyte():
        resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))

    out = tmp_path / "rows.jsonl"
    words = command("table", *options(table, out, "--samples", 6000, "--workers", 1))
    done = subprocess.run(
        words, cwd=tmp_path, env=settings(), capture_output=True, text=True, preexec_fn=no_more_than_a_megabyte
    )
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert done.stderr.startswith(f"error: cannot write {out}") and "run the same command again" in done.stderr
    assert builder("table", *options(table, out, "--samples", 6000), cwd=tmp_path).returncode == 0


@pytest.mark.parametrize("place", ["folder", "blocked", "long", "truth"])
def test_an_output_that_cannot_be_written_is_refused_before_anything_is_built(table, tmp_path, place, monkeypatch):
    from data_builders import table as module

    out = {
        "folder": tmp_path / "rows.jsonl",
        "blocked": table / "rows.jsonl",
        "long": tmp_path / ("n" * 249 + ".jsonl"),
        "truth": tmp_path / "rows.jsonl",
    }[place]
    if place in ("folder", "truth"):
        out.with_suffix(".jsonl" if place == "folder" else ".truth.npy").mkdir()
    monkeypatch.setattr("data_builders.rows.writing.in_order", lambda *a: pytest.fail("rows were built"))
    monkeypatch.setattr(sys, "argv", ["table", *map(str, options(table, out, "--samples", 10))])
    with pytest.raises(UserError, match="choose another --out"):
        module.main()


@pytest.mark.parametrize("content", [None, "{not json", "[1]", "folder", "[" * 100_000])
def test_a_registry_that_cannot_be_used_is_refused_before_anything_is_built(table, tmp_path, content, monkeypatch):
    from data_builders import table as module

    registry = tmp_path / "none" / "info.json" if content is None else tmp_path / "info.json"
    if content == "folder":
        registry.mkdir()
    elif content is not None:
        registry.write_text(content)
    monkeypatch.setattr(module, "make_source", lambda *a, **k: pytest.fail("the table was read"))
    words = options(table, tmp_path / "rows.jsonl", "--samples", 10, "--registry", registry)
    monkeypatch.setattr(sys, "argv", ["table", *map(str, words)])
    with pytest.raises(UserError):
        module.main()


def test_rows_outside_data_are_registered_on_request_only(table, tmp_path, monkeypatch, capsys):
    from data_builders import table as module

    monkeypatch.chdir(tmp_path)
    before = '{"mine": {"file_name": "x.json"}}'
    Path("dataset_info.json").write_text(before)

    def build(*words):
        always = ["--source", table, "--metric", "acc", "--samples", 4, "--history", "5-8", "--quiet", "--workers", 1]
        monkeypatch.setattr(sys, "argv", ["table", *map(str, [*always, *words])])
        assert module.main() == 0
        return capsys.readouterr().out

    assert "to register it, add --registry dataset_info.json" in build("--out", tmp_path / "else" / "rows.jsonl")
    assert Path("dataset_info.json").read_text() == before
    assert "registered as 'mine_too'" in build("--out", tmp_path / "data" / "mine_too.jsonl")
    assert read_registry("dataset_info.json")["mine_too"]["file_name"] == "data/mine_too.jsonl"
    build("--out", tmp_path / "else" / "asked.jsonl", "--registry", "dataset_info.json")
    assert read_registry("dataset_info.json")["asked"]["file_name"] == "else/asked.jsonl"


def test_registry_is_updated_once_and_keeps_what_it_has(tmp_path):
    registry = tmp_path / "dataset_info.json"
    registry.write_text(json.dumps({"mine": {"file_name": "x.json"}}))
    assert register("rows", tmp_path / "data" / "rows.jsonl", registry)
    before = registry.read_bytes()
    assert not register("rows", tmp_path / "data" / "rows.jsonl", registry)
    assert registry.read_bytes() == before
    found = read_registry(registry)
    assert found["mine"] == {"file_name": "x.json"} and found["rows"]["file_name"] == "data/rows.jsonl"
    assert found["rows"]["columns"] == {"prompt": "instruction", "query": "input", "response": "output"}
    register("far", tmp_path.parent / "far.jsonl", registry)
    assert read_registry(registry)["far"]["file_name"] == str((tmp_path.parent / "far.jsonl").resolve())
    registry.write_text("{not json")
    with pytest.raises(UserError, match="is not JSON"):
        register("rows", tmp_path / "rows.jsonl", registry)
    assert registry.read_text() == "{not json"


def test_many_processes_can_register_at_once(tmp_path):
    code = (
        "import sys; from data_builders.registry import register; register(sys.argv[1], sys.argv[1] + '.jsonl',"
        " 'dataset_info.json')"
    )
    processes = [
        subprocess.Popen([sys.executable, "-c", code, f"set{i}"], cwd=tmp_path, env=settings()) for i in range(6)
    ]
    assert [p.wait(timeout=60) for p in processes] == [0] * 6
    assert sorted(read_registry(tmp_path / "dataset_info.json")) == [f"set{i}" for i in range(6)]


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (["--history", "0-5"], "--history was given '0-5'"),
        (["--candidates", "1"], "--candidates was given 1"),
        (["--shard", "3/3"], "--shard was given '3/3'"),
        (["--format", "papre"], "did you mean paper"),
        (["--samples", "0"], "--samples 0"),
        (["--out", "rows.json"], "ends in .jsonl"),
        (["--metric", "akk"], "unknown metric of table runs 'akk'"),
        (["--p-option", "1"], "--p-option was given 1.0"),
    ],
)
def test_wrong_use_is_one_sentence(table, tmp_path, wrong, message, capsys, monkeypatch):
    from data_builders.table import main
    from search.errors import cli

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(
        sys, "argv", ["table", *map(str, options(table, tmp_path / "rows.jsonl", "--samples", 10)), *wrong]
    )
    with pytest.raises(SystemExit) as stop:
        cli(main)
    error = capsys.readouterr().err
    assert stop.value.code == 2 and message in error and error.count("\n") == 1
    assert visible(tmp_path) == []
