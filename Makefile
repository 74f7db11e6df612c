# make demo        rows -> a small model from scratch -> does it read histories? -> search on NAS-Bench-201 -> report
# make test        the fast tests
# make test-slow   the long tests
# make docs        these pages as a site in out/site
# make venv        only the environment (.venv); demo and the tests make it too
# make clean       remove runs and built rows
#
# Options:  PYTHON=python3.12   another interpreter
#           TORCH="torch==2.13.0 --extra-index-url https://download.pytorch.org/whl/cpu"   the small CPU build on Linux
#           GPU=1               the real torchvision and torchaudio beside a CUDA build of torch

PYTHON ?= python3
TORCH ?= torch==2.13.0
GPU ?=
BIN := .venv/bin
EXTRAS := nano,train,serve,tables,apis,tasks,dev
MEDIA := $(if $(GPU),torchvision torchaudio,./compat/torchvision ./compat/torchaudio)
PINS := $(if $(GPU),,-c constraints-cpu.txt)
export OMP_WAIT_POLICY ?= PASSIVE
export TOKENIZERS_PARALLELISM ?= false
export PATH := $(CURDIR)/$(BIN):$(PATH)

.PHONY: help venv test test-slow demo docs lint clean
.DEFAULT_GOAL := help

help:
	@sed -n '/^# make /,/^$$/s/^# \{0,1\}//p' $(firstword $(MAKEFILE_LIST))

venv: .venv/.ready

.venv/.ready: pyproject.toml constraints-cpu.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "error: $(PYTHON) is older than Python 3.11 - name a newer one: make PYTHON=python3.12"; exit 2; }
	@$(PYTHON) -c 'import ensurepip, venv' || { echo "error: $(PYTHON) has no venv module - on Debian and Ubuntu: apt-get install python3-venv"; exit 2; }
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check $(PINS) $(TORCH) $(MEDIA) -e '.[$(EXTRAS)]'
	@touch $@
	@echo "The environment is ready in .venv. Next: make demo, or make test."

test: venv
	$(BIN)/python -m pytest -q -n auto

test-slow: venv
	$(BIN)/python -m pytest -q -m slow

lint: venv
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

demo: venv
	@echo "[1/5] training rows: 5,000 histories of made-up search spaces, nothing real among them"
	$(BIN)/python -m data_builders.synthetic --format stamped --stage easy=8e5 --seed 1 --out data/raw_easy.jsonl
	@echo "[2/5] a LLaMA of 1.9 M parameters from scratch on those rows, with LLaMA-Factory: three to five minutes"
	$(BIN)/python -m data_builders.raw_model saves/raw_start --seed 0
	$(BIN)/python -m data_builders.train yaml/lmsearcher_raw.yaml max_steps=200 lr_scheduler_type=linear output_dir=saves/raw_demo overwrite_output_dir=true
	$(BIN)/python -m search.stamp saves/raw_demo --format stamped
	@echo "[3/5] does it read? NAS-Bench-201, which it has never seen: pick one of ten architectures after a history of 20,"
	@echo "      the history's accuracies true, shuffled, negated (percentile: chance .5, oracle 1)"
	$(BIN)/python -m search.exam --task nb201/cifar100 --ranker raw:saves/raw_demo --history-control all --history 20 --repeats 100 > saves/raw_demo/exam.json
	@echo "[4/5] search on NAS-Bench-201, CIFAR-100: that model in the paper's loop, with and without a true history; the shipped nano model; controls"
	rm -rf runs/demo
	$(BIN)/python -m search.run --recipe recipes/search/demo.yaml --out runs/demo
	@echo "[5/5] the report"
	$(BIN)/python -m search.report runs/demo

docs: venv
	$(BIN)/pip install --quiet --disable-pip-version-check $(PINS) '.[docs]'
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict
	@echo "open out/site/index.html"

clean:
	rm -rf runs out
	find data -name '*.jsonl' ! -name 'sample_*' -delete
