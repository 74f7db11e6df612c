"""What the nano searcher owes to what: small models, one thing changed at a time, trained with LLaMA-Factory and
examined alike.

    python -m benchmarks.nano_ablations [--arm reference --arm digits ...] [--steps 300] [--repeats 12] [--out DIR]

reference     size tiny, value rows and a twentieth of answer rows, `--steps` steps of 256 rows, read by expected value
no_answers    value rows only
answers       the same weights as reference, read by the likelihood of the code
only_answers  answer rows only, read that way
curriculum    small clean worlds first, order kept
light, small  larger models, as many steps
shown_N       reference, shown N entries of the history only (best and latest)
marks         no evidence: the raw history with a token per decision and option, loss on every value, short rows first
digits        the same, codes as bare digits
average       no model: the plain average of the nine views

Rows are synthetic. The exam is that of benchmarks/exam_all on its real tables; the score is the mean percentile of the
pick (chance 0.5). Arms that are finished are kept in --out and not trained again.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from tqdm import tqdm

from benchmarks.cases import present, task_of
from benchmarks.raw_history import RawRanker
from search.errors import UserError, cli, did_you_mean
from search.exam import questions, sit
from search.files import write_atomic
from search.prompts.evidence import gather
from search.prompts.nano import arrays
from search.prompts.stamp import write_stamp
from search.rankers.base import Ranker, Ranking, from_scores
from search.rankers.nano import NanoRanker
from search.spaces import Seen

LENGTHS = (5, 20, 50)
LONG = 200
BATCH = 256
SHOWN = (25, 50, 100, 200)
TRAINED = ("reference", "no_answers", "only_answers", "curriculum", "light", "small", "marks", "digits")
ARMS = ("average", *TRAINED[:2], "answers", *TRAINED[2:], *(f"shown_{n}" for n in SHOWN))


class AverageRanker(Ranker):
    """The plain average of the views."""

    name = "average"

    def rank(self, history: Sequence[Seen], candidates: Sequence[str]) -> Ranking:
        return from_scores(candidates, gather(*arrays(history, candidates)).mean.mean(axis=1), self.name)


def run(*command: object) -> None:
    """A command of this project; its output goes where ours goes."""
    print("$", " ".join(map(str, command)), flush=True)
    if subprocess.call([str(c) for c in command]):
        raise UserError(
            f"'{command[0]} {command[1]} {command[2]}' failed - its message stands above - mend that and run again,"
            " finished arms are kept"
        )


def build_rows(out: Path, name: str, samples: int, *options: object, builder: str = "data_builders.synthetic") -> str:
    """Synthetic rows in out/NAME.jsonl, made once; returns the data set's name."""
    path = out / f"{name}.jsonl"
    if not path.is_file():
        run(
            sys.executable,
            "-m",
            builder,
            "--samples",
            samples,
            "--out",
            path,
            "--registry",
            out / "dataset_info.json",
            *options,
        )
    return name


def train(out: Path, start: Path, folder: Path, steps: int, *options: str) -> Path:
    """A model trained on data sets of out/dataset_info.json, made once."""
    if not (folder / "model.safetensors").is_file():
        always = [
            f"model_name_or_path={start}",
            f"output_dir={folder}",
            f"dataset_dir={out}",
            f"max_steps={steps}",
            "save_steps=100000",
            "plot_loss=false",
        ]
        run("llamafactory-cli", "train", "yaml/lmsearcher_nano.yaml", *always, *options)
    return folder


def ranker_of(arm: str, out: Path, steps: int, seed: int) -> Ranker:
    """Rows, training and reading of one arm."""
    if arm == "average":
        return AverageRanker()
    size = arm if arm in ("light", "small") else "tiny"
    start = out / f"start_{size}"
    if not (start / "config.json").is_file():
        run(sys.executable, "-m", "data_builders.nano_model", start, "--size", size)
    if arm in ("marks", "digits"):
        raw, longest = f"raw_{arm}", 400
        short = build_rows(
            out,
            f"{arm}_short",
            128 * steps,
            "--format",
            raw,
            "--longest",
            64,
            "--curriculum",
            "--seed",
            seed,
            builder="benchmarks.raw_history",
        )
        long = build_rows(
            out,
            f"{arm}_long",
            32 * steps,
            "--format",
            raw,
            "--longest",
            longest,
            "--seed",
            seed + 1,
            builder="benchmarks.raw_history",
        )
        dense = ["train_on_prompt=true", "disable_shuffling=true", "learning_rate=2.0e-3"]
        first = train(
            out, start, out / f"{arm}_first", steps, f"dataset={short}", "per_device_train_batch_size=128", *dense
        )
        folder = train(out, first, out / arm, steps, f"dataset={long}", "per_device_train_batch_size=32", *dense)
        write_stamp(folder, raw)
        return RawRanker(folder, raw, longest)
    build_rows(out, "values", int(1.07 * BATCH * steps), "--answers", 0.05, "--seed", seed)
    data = {"no_answers": "values", "curriculum": "easy_first"}.get(arm, "values,values_answers")
    options = ["train_sampling_strategy=group_by_length"]
    if arm == "curriculum":
        build_rows(out, "easy_first", BATCH * steps, "--curriculum", "--seed", seed)
        options = ["disable_shuffling=true"]
    if arm == "only_answers":
        build_rows(out, "only_answers", 64 * steps, "--format", "nano", "--seed", seed)
        data, options = "only_answers", [*options, "per_device_train_batch_size=64"]
    model = arm if arm in TRAINED else "reference"
    folder = train(out, start, out / model, steps, f"dataset={data}", *options)
    write_stamp(folder, "nano")
    return NanoRanker(folder, "answer" if arm in ("answers", "only_answers") else "mean")


def examine(ranker: Ranker, lengths: Sequence[int], repeats: int, seed: int) -> dict[str, float]:
    """{history length: mean percentile over the real tables that are large enough}."""
    found: dict[str, list[float]] = {str(n): [] for n in lengths}
    for case in tqdm(present(), desc=ranker.name, disable=None):
        task = task_of(case)
        for n in lengths:
            try:
                asked = questions(task, n, repeats, seed=seed)
            except UserError:
                continue
            found[str(n)].append(float(np.mean(sit(ranker, asked)["percentile"])))
    return {n: round(float(np.mean(v)), 4) for n, v in found.items() if v}


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.nano_ablations",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--arm", action="append", metavar="NAME", help=f"repeatable (default all: {', '.join(ARMS)})")
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--repeats", type=int, default=12, help="exam questions a table and history length")
    parser.add_argument("--seed", type=int, default=5)
    parser.add_argument("--out", type=Path, default=Path("runs/nano_ablations"))
    args = parser.parse_args()
    if args.steps < 10 or args.repeats < 1:
        raise UserError(f"--steps {args.steps} --repeats {args.repeats} were given - at least 10 and 1 are needed")
    arms = args.arm or list(ARMS)
    for arm in arms:
        if arm not in ARMS:
            raise did_you_mean("arm", arm, ARMS)
    args.out.mkdir(parents=True, exist_ok=True)
    kept = args.out / "results.json"
    results = json.loads(kept.read_text()) if kept.is_file() else {}
    for arm in arms:
        key = f"{arm} {args.steps} {args.repeats} {args.seed}"
        if key not in results:
            ranker, lengths = ranker_of(arm, args.out, args.steps, args.seed), LENGTHS
            if arm.startswith("shown_"):
                ranker.most, lengths = int(arm.partition("_")[2]), (LONG,)
            results[key] = examine(ranker, lengths, args.repeats, args.seed)
            write_atomic(kept, json.dumps(results, indent=1) + "\n")
        print(f"{arm:14}" + "  ".join(f"{n}: {v:.3f}" for n, v in results[key].items()), flush=True)
    return 0


if __name__ == "__main__":
    cli(main)
