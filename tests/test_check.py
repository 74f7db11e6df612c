"""The check finds each of ten corruptions and names the rows; sound rows of every kind pass."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest

from data_builders import check
from data_builders.nb201 import make_source as nb201_source
from data_builders.prior import text_rows as prior
from data_builders.rows.from_tables import table_source
from data_builders.rows.sampling import RowShape
from data_builders.rows.writing import Job, write_rows
from search.errors import cli
from search.spaces import Decision, Space
from search.tables import Table

ROWS = 60


def write(source, shape, out, fmt="paper", encoding="ncode", rows=ROWS):
    """Rows as a builder writes them."""
    plan = {
        "builder": "test",
        "encoding": encoding,
        "shape": {k: list(v) if isinstance(v, tuple) else v for k, v in vars(shape).items()},
    }
    return write_rows(
        Job(source, 0, 0, rows, fmt, shape.direct, shape.order != "format", shape.candidates, plan),
        out,
        workers=1,
        progress=False,
    )


def run(path, *options):
    """(exit code, result) of the command line."""
    sys.argv = ["check", str(path), "--quiet", "--json", "--workers", "1", *map(str, options)]
    out = []
    patched = pytest.MonkeyPatch()
    patched.setattr("builtins.print", lambda *a, **k: out.append(a))
    try:
        with pytest.raises(SystemExit) as stop:
            cli(check.main)
    finally:
        patched.undo()
    return stop.value.code, json.loads(out[0][0]) if out and not k_error(out) else out


def k_error(out):
    return str(out[0][0]).startswith("error:")


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    """60 rows of NAS-Bench-201 with short histories."""
    out = tmp_path_factory.mktemp("rows") / "rows.jsonl"
    shape = RowShape(history=(12, 30))
    write(nb201_source(shape), shape, out)
    return out


def copy(rows, folder, change=None, meta=None):
    """A copy of the rows with `change(list of row dicts)` applied and meta data updated."""
    out = folder / "rows.jsonl"
    content = [json.loads(line) for line in rows.read_text().splitlines()]
    if change:
        change(content)
    out.write_text("".join(r if isinstance(r, str) else json.dumps(r) + "\n" for r in content))
    facts = json.loads(rows.with_suffix(".meta.json").read_text()) | (meta or {})
    out.with_suffix(".meta.json").write_text(json.dumps(facts))
    if len(content) == ROWS:
        out.with_suffix(".truth.npy").write_bytes(rows.with_suffix(".truth.npy").read_bytes())
    return out


def test_sound_rows_pass(rows):
    code, result = run(rows)
    assert code == 0 and result["broken"] == {}
    assert result["counts"]["rows"] == ROWS and result["counts"]["argmax_by_table"] == ROWS


def lines_of(row):
    return row["input"].split("\n")


def candidates_of(row):
    return lines_of(row)[lines_of(row).index("Candidate:") + 1 :]


def not_a_candidate(row):
    row["output"] = next(c for c in ("000000", "111111") if c not in candidates_of(row))


def not_the_best(row):
    row["output"] = next(c for c in candidates_of(row) if c != row["output"])


def shown_again(row):
    first = lines_of(row)[1].split(":")[1].split(",")[0].strip()
    lines = lines_of(row)
    row["input"] = "\n".join([*lines[:-1], first] if lines[-1] != row["output"] else [*lines[:-2], first, lines[-1]])


def isomorphic_again(row):
    """An equivalent cell (another code of the same canonical class) in place of a candidate."""
    from search.spaces.nb201 import _representatives, canonical

    lines = lines_of(row)
    history = [line.split(":")[1].split(",")[0].strip() for line in lines[1 : lines.index("Candidate:")]]
    twin = next(
        c for h in history for c in _representatives() if c != h and canonical(c) == canonical(h) and c not in history
    )
    place = next(i for i in range(lines.index("Candidate:") + 1, len(lines)) if lines[i] != row["output"])
    lines[place] = twin
    row["input"] = "\n".join(lines)


def digit_out_of_range(row):
    lines = lines_of(row)
    lines[1] = lines[1][:7] + "9" + lines[1][8:]
    row["input"] = "\n".join(lines)


def wrong_order(row):
    lines = lines_of(row)
    lines[1], lines[9] = lines[9], lines[1]
    row["input"] = "\n".join(lines)


def wrong_number(row):
    lines = lines_of(row)
    codes = [lines[i].split(",")[0] for i in (1, 10)]
    lines[1], lines[10] = codes[1] + "," + lines[1].split(",", 1)[1], codes[0] + "," + lines[10].split(",", 1)[1]
    row["input"] = "\n".join(lines)


def cut_line(row):
    lines = lines_of(row)
    lines[3] = lines[3][:-3]
    row["input"] = "\n".join(lines)


def other_instruction(row):
    row["instruction"] = "Choose."


CORRUPTIONS = {
    "answer": not_a_candidate,
    "argmax": not_the_best,
    "overlap": shown_again,
    "overlap by canonical code": isomorphic_again,
    "code": digit_out_of_range,
    "order": wrong_order,
    "values": wrong_number,
    "text": cut_line,
    "form": other_instruction,
}


@pytest.mark.parametrize("rule", CORRUPTIONS)
def test_each_corruption_is_found_in_its_row(rows, tmp_path, rule):
    def change(content):
        for i in (4, 17, 41):
            CORRUPTIONS[rule](content[i])

    code, result = run(copy(rows, tmp_path, change))
    assert code == 1
    assert result["broken"][rule.split()[0]] == [5, 18, 42]


def test_duplicate_rows(rows, tmp_path):
    def change(content):
        content[30] = content[2]

    code, result = run(copy(rows, tmp_path, change))
    assert code == 1 and result["broken"]["duplicate"] == [31]


def test_lines_that_are_no_rows(rows, tmp_path):
    def change(content):
        content[3] = '{"instruction": "half a ro\n'
        content[8] = {"instruction": "", "input": "", "label": 1}

    code, result = run(copy(rows, tmp_path, change))
    assert code == 1 and result["broken"]["form"] == [4, 9]


def test_the_truth_file_is_checked_too_and_must_fit(rows, tmp_path, capsys):
    short = copy(rows, tmp_path, lambda content: content.pop())
    short.with_suffix(".truth.npy").write_bytes(rows.with_suffix(".truth.npy").read_bytes())
    sys.argv = ["check", str(short), "--quiet", "--workers", "1"]
    with pytest.raises(SystemExit) as stop:
        cli(check.main)
    assert stop.value.code == 2 and "they belong together" in capsys.readouterr().err


def test_evaluation_tables_by_name_by_architecture_and_by_content(rows, tmp_path):
    assert run(rows, "--held-out", "hpobench/car")[0] == 0
    everything = list(range(1, ROWS + 1))
    assert run(rows, "--held-out", "nb201")[1]["broken"] == {"held_out": everything}
    # rows of CIFAR-10 and CIFAR-100 are rows of the same cells, whatever the data set
    assert run(rows, "--held-out", "nb201/cifar100")[1]["broken"] == {"held_out": everything}
    # a set that says it is something else is found by its pairs
    disguised = [{"table": "synthetic", "metric": "value", "direction": "maximize"}] * 3
    code, result = run(copy(rows, tmp_path, meta={"origins": disguised}), "--held-out", "nb201")
    assert code == 1 and result["broken"]["held_out"] == everything
    assert run(copy(rows, tmp_path, meta={"origins": disguised}))[0] == 0


def test_shuffled_scores_are_no_leak_by_content(tmp_path):
    shape = RowShape(history=(12, 30), shuffle_scores=True)
    write(nb201_source(shape), shape, tmp_path / "rows.jsonl")
    assert run(tmp_path / "rows.jsonl")[0] == 0


@pytest.mark.parametrize(
    ("change", "fmt", "encoding"),
    [
        ({}, "append", "ncode"),
        ({}, "release", "ncode"),
        ({"direct": True}, "paper", "ncode"),
        ({"direct": True}, "release", "ncode"),
        ({"order": "random"}, "paper", "ncode"),
        ({"mutants": True}, "paper", "ncode"),
        ({}, "paper", "domain"),
        ({"direct": True}, "paper", "domain"),
        ({"pruning": False}, "paper", "ncode"),
        ({"small": "shrink"}, "paper", "ncode"),
    ],
)
def test_every_variation_passes(tmp_path, change, fmt, encoding):
    shape = RowShape(history=(12, 30), **change)
    out = tmp_path / "rows.jsonl"
    write(nb201_source(shape, encoding=encoding), shape, out, fmt, encoding)
    code, result = run(out)
    assert code == 0, result
    assert result["counts"]["argmax_by_table"] == ROWS
    if shape.direct:
        content = [json.loads(line) for line in out.read_text().splitlines()]
        shown = (
            content[7]["input"].split("NCode: ")[-1].split(",")[0]
            if fmt == "paper"
            else content[7]["input"].split("|")[0]
        )
        content[7]["output"] = shown
        out.write_text("".join(json.dumps(r) + "\n" for r in content))
        assert run(out)[1]["broken"]["answer"] == [8]


def test_synthetic_rows_are_verified_by_their_truth_file(tmp_path):
    shape = RowShape(history=(12, 30))
    out = tmp_path / "rows.jsonl"
    write(prior.make_source(shape), shape, out)
    code, result = run(out)
    assert code == 0 and result["counts"]["argmax_by_truth_file"] == ROWS
    content = [json.loads(line) for line in out.read_text().splitlines()]
    not_the_best(content[11])
    out.write_text("".join(json.dumps(r) + "\n" for r in content))
    assert run(out)[1]["broken"] == {"argmax": [12]}


def test_a_table_of_losses_and_a_table_of_ones_own(tmp_path):
    space = Space(
        [
            Decision("depth", (2, 4, 6)),
            Decision("width", (64, 128, 256)),
            *(Decision(f"x{i}", (0, 1)) for i in range(5)),
        ]
    )
    codes = (
        np.stack(np.meshgrid(*[np.arange(n) for n in space.cardinalities], indexing="ij"), axis=-1)
        .reshape(-1, 7)
        .astype(np.uint8)
    )
    loss = 0.001 * (1 + codes.astype(float) @ np.arange(1, 8) + np.random.default_rng(0).random(len(codes)))
    path = tmp_path / "runs.csv"
    names = [d.name for d in space.decisions]
    lines = [",".join([*names, "val_loss"])]
    lines += [
        ",".join([*(str(space.decisions[i].options[k]) for i, k in enumerate(code)), f"{v:.6f}"])
        for code, v in zip(codes.tolist(), loss)
    ]
    path.write_text("\n".join(lines) + "\n")
    from data_builders.table import make_source

    shape = RowShape(history=(12, 30))
    source = make_source(shape, str(path), decisions=",".join(names), metric="val_loss")
    write(source, shape, tmp_path / "rows.jsonl")
    code, result = run(tmp_path / "rows.jsonl")
    assert code == 0 and result["counts"]["argmax_by_table"] == ROWS
    assert table_source(
        "t", [Table("t", space, codes, {"val_loss": loss}, {"val_loss": "minimize"})], "val_loss", shape
    ).batch(np.random.default_rng(0), 3)


def test_rows_too_long_for_the_cutoff(rows, tmp_path):
    pytest.importorskip("transformers")
    from data_builders.tokenizer import build_tokenizer

    folder = tmp_path / "tokenizer"
    build_tokenizer().save_pretrained(folder)
    code, result = run(rows, "--tokenizer", folder, "--cutoff-len", 4096)
    assert code == 0 and result["tokens"]["p100"] > 200
    longest = result["tokens"]["p100"]
    code, result = run(rows, "--tokenizer", folder, "--cutoff-len", longest - 1)
    assert code == 1 and len(result["broken"]["tokens"]) >= 1
    assert run(rows, "--tokenizer", folder, "--cutoff-len", longest)[0] == 0


def test_several_workers_say_the_same(rows, tmp_path):
    bad = copy(rows, tmp_path, lambda content: not_the_best(content[50]))
    one = run(bad)
    two = run(bad, "--workers", 2)
    assert one == two and two[1]["broken"] == {"argmax": [51]}


def said(path, capsys):
    """(exit code, what people read)."""
    sys.argv = ["check", str(path), "--quiet", "--workers", "1"]
    with pytest.raises(SystemExit) as stop:
        cli(check.main)
    return stop.value.code, capsys.readouterr().out


def test_answers_that_cannot_be_looked_up_are_not_called_ok(rows, tmp_path, capsys):
    path = tmp_path / "rows.jsonl"
    for change in (lambda content: None, lambda content: not_the_best(content[9])):
        content = [json.loads(line) for line in rows.read_text().splitlines()]
        change(content)
        path.write_text("".join(json.dumps(row) + "\n" for row in content))
        code, text = said(path, capsys)
        assert code == 1 and "\nnot ok: answers not verified\n" in text and "\nok" not in text
        assert f"the answers of {ROWS} rows" in text and "NAME.meta.json" in text


def test_a_set_whose_truth_file_is_gone_is_not_called_ok(tmp_path, capsys):
    shape = RowShape(history=(12, 30))
    write(prior.make_source(shape), shape, tmp_path / "rows.jsonl")
    assert said(tmp_path / "rows.jsonl", capsys)[0] == 0
    (tmp_path / "rows.truth.npy").unlink()
    code, text = said(tmp_path / "rows.jsonl", capsys)
    assert code == 1 and text.endswith("not ok: answers not verified\n")


def test_an_empty_file_is_not_called_ok(tmp_path, capsys):
    (tmp_path / "rows.jsonl").write_bytes(b"")
    code, text = said(tmp_path / "rows.jsonl", capsys)
    assert code == 1 and text.endswith("not ok: no rows\n")


@pytest.mark.parametrize("meta", ["{", "[]", "7", '{"shape": 3}', '{"origins": [3]}', '{"origins": [{}]}', "[" * 99999])
def test_meta_data_of_another_form_are_a_sentence(rows, tmp_path, meta, capsys):
    path = copy(rows, tmp_path)
    path.with_suffix(".meta.json").write_text(meta)
    assert said(path, capsys)[0] == 2


@pytest.mark.parametrize("damage", [lambda b: b[:40], lambda b: b"", lambda b: b[:-7], lambda b: b"x" * 300])
def test_a_damaged_truth_file_is_a_sentence(rows, tmp_path, damage, capsys):
    path = copy(rows, tmp_path)
    truth = path.with_suffix(".truth.npy")
    truth.write_bytes(damage(truth.read_bytes()))
    assert said(path, capsys)[0] == 2
    np.save(truth, np.zeros(ROWS))
    assert said(path, capsys)[0] == 2


def test_rows_with_odd_numbers_or_depths_are_found(rows, tmp_path):
    def change(content):
        content[4]["input"] = content[4]["input"].replace("accuracy: ", "accuracy: 1.2.", 1)
        content[6] = "[" * 99999 + "\n"

    path = copy(rows, tmp_path, change)
    code, result = run(path)
    assert code == 1 and result["broken"] == {"form": [7], "text": [5]}


def test_a_tokenizer_folder_without_one_is_a_sentence(rows, tmp_path, capsys):
    pytest.importorskip("transformers")
    sys.argv = ["check", str(rows), "--quiet", "--workers", "1", "--tokenizer", str(tmp_path)]
    with pytest.raises(SystemExit) as stop:
        cli(check.main)
    assert stop.value.code == 2 and "holds no tokenizer" in capsys.readouterr().err


def test_rows_without_a_history_are_a_sentence(rows, tmp_path, capsys):
    sys.argv = ["check", str(copy(rows, tmp_path, meta={"format": "nano_value"})), "--quiet"]
    with pytest.raises(SystemExit) as stop:
        cli(check.main)
    assert stop.value.code == 2 and "do not show the history" in capsys.readouterr().err


def test_a_missing_file_is_a_sentence(tmp_path, capsys):
    sys.argv = ["check", str(Path(tmp_path) / "none.jsonl")]
    with pytest.raises(SystemExit) as stop:
        cli(check.main)
    assert stop.value.code == 2 and "does not exist" in capsys.readouterr().err
