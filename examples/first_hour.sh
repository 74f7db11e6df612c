#!/bin/bash
# A newcomer's first hour, in an empty folder: install, own table, own function, own Optuna study, ^C, continue, report.
#
#   pip wheel --no-deps --wheel-dir /tmp/wheel .
#   mkdir /tmp/mine && cd /tmp/mine && bash .../examples/first_hour.sh /tmp/wheel/lm_searcher-*.whl
#
# PYTHON=python3.12 is the interpreter, WITH=torch==2.13.0 installs the extra `nano` and that torch; without it no model is used.
set -euo pipefail
wheel=$1
step() { printf '\n$ %s\n' "$*"; "$@"; }

step "${PYTHON:-python3}" -m venv venv
if [ -n "${WITH:-}" ]; then step venv/bin/pip -q install "$wheel[nano]" "$WITH"; else step venv/bin/pip -q install "$wheel"; fi
step venv/bin/lmsearcher --version

cat > make_table.py <<'PY'
import csv, itertools, sys
rows = csv.writer(sys.stdout)
rows.writerow(["depth", "width", "act", "loss"])
for depth, width, act in itertools.product((2, 4, 6, 8), (64, 128, 256, 512), ("relu", "gelu", "silu")):
    rows.writerow([depth, width, act, abs(depth - 6) / 4 + abs(width - 256) / 512 + 0.05 * (act != "gelu")])
PY
venv/bin/python make_table.py > results.csv
step venv/bin/lmsearcher run --table results.csv --decisions depth,width,act --metric loss --direction minimize --budget 20 --out runs/table
step venv/bin/lmsearcher report runs/table
test -s runs/table/report/report.html

cat > own_function.py <<'PY'
from search import Decision, Integer, Real, Space, minimize

space = Space([Real("lr", 1e-6, 1e-2, log=True), Integer("rank", 2, 256, log=True), Decision("optimizer", ("adam", "sgd"))])
best = minimize(
    lambda arch: abs(arch["lr"] - 3e-4) * 1e3 + abs(arch["rank"] - 32) / 32 + (arch["optimizer"] == "sgd"),
    space,
    budget=30,
    storage="runs/mine/journal.log",
)
print("best", best.arch, round(best.value, 4))
PY
step venv/bin/python own_function.py

cat > own_study.py <<'PY'
import optuna

from search import LMSearcherSampler


def objective(trial):
    loss = abs(trial.suggest_float("lr", 1e-6, 1e-2, log=True) - 3e-4) * 1e3
    if trial.suggest_categorical("optimizer", ("adam", "sgd")) == "sgd":
        loss += abs(trial.suggest_float("momentum", 0.0, 0.99) - 0.9)
    return loss


optuna.logging.set_verbosity(optuna.logging.WARNING)
study = optuna.create_study(storage="sqlite:///study.db", study_name="mine", sampler=LMSearcherSampler(seed=0))
study.optimize(objective, n_trials=30)
print("best", study.best_params, round(study.best_value, 4))
PY
step venv/bin/python own_study.py
step venv/bin/lmsearcher report sqlite:///study.db --out runs/study-report

sed 's/^    lambda arch: /    lambda arch: called() or /; s,runs/mine,runs/slow,' own_function.py > slow.py
sed -i '1i import time\n\n\ndef called():\n    open("calls.txt", "a").write(".")\n    time.sleep(0.3)\n\n' slow.py
printf '\n$ venv/bin/python slow.py      # the same at 0.3 s an evaluation, and ^C in the eleventh\n'
set -m # so that it takes ^C as it would from a terminal
touch calls.txt
venv/bin/python slow.py & search=$!
until [ "$(wc -c < calls.txt)" -gt 10 ]; do sleep 0.1; kill -0 $search; done
kill -INT $search
wait $search && echo "exit code 0" || echo "exit code $?"
echo "evaluations begun: $(wc -c < calls.txt)"
step venv/bin/python slow.py
echo "evaluations begun in both: $(wc -c < calls.txt), one of them interrupted"
[ "$(wc -c < calls.txt)" -le 31 ]

printf '\n$ lmsearcher run --task nb201/cifar100 --budget 192 --out runs/nb201      # and ^C after twenty evaluations\n'
venv/bin/lmsearcher run --task nb201/cifar100 --budget 192 --out runs/nb201 & search=$!
until [ -e runs/nb201/seed-0/trials.jsonl ] && [ "$(wc -l < runs/nb201/seed-0/trials.jsonl)" -ge 20 ]; do sleep 0.02; kill -0 $search; done
kill -INT $search
wait $search && { echo "the stopped run ended with 0"; exit 1; } || echo "exit code $?"
step venv/bin/lmsearcher run --resume --out runs/nb201
[ "$(wc -l < runs/nb201/seed-0/trials.jsonl)" = 192 ]
step venv/bin/lmsearcher report runs/nb201
[ -z "$(command -v chromium)" ] || step chromium --headless --no-sandbox --disable-gpu --window-size=900,1600 --screenshot=report.png "file://$PWD/runs/nb201/report/report.html"
echo; echo "Done: every number above is yours to compare; the pages are runs/*/report/report.html."
