# make demo        rows -> tiny training -> search on NAS-Bench-201 -> report
# make test        the fast tests
# make test-slow   the long tests
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

.PHONY: help venv test test-slow demo lint clean
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
	@echo "[1/4] ranking rows from NAS-Bench-201, CIFAR-10"
	$(BIN)/python -m data_builders.nb201 --datasets cifar10 --samples 5000 --history 5-20 --out data/nb201_tiny.jsonl
	@echo "[2/4] a tiny LLaMA from scratch on those rows, with LLaMA-Factory: about two minutes; it proves the pipeline"
	$(BIN)/llamafactory-cli train yaml/lmsearcher_tiny.yaml
	$(BIN)/python -m search.stamp saves/lmsearcher_tiny --format paper
	@echo "[3/4] search on NAS-Bench-201, CIFAR-100: the shipped nano model, the tiny model, and every control at the same budget"
	rm -rf runs/demo
	$(BIN)/python -m search.run --recipe recipes/search/demo.yaml --out runs/demo
	@echo "[4/4] the report"
	$(BIN)/python -m search.report runs/demo

clean:
	rm -rf runs out
	find data -name '*.jsonl' ! -name 'sample_*' -delete
