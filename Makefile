# make pretrain    set up if needed, then the quickstart: a tiny BERT learns English within minutes
# make test        set up if needed, then lint and the whole test suite
# make acceptance  the heavy proofs, by hand; figures go to experiments/benchmarks/results/
# PYTHON=python3.12 make ... picks the interpreter (3.11 to 3.13)

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
VERSION := $(shell $(PYTHON) -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null)
WORKDIR ?= runs/quickstart

.PHONY: pretrain test lint acceptance parity clean
.DELETE_ON_ERROR:

pretrain: $(VENV)/installed
	$(BIN)/python -m bert_jax train --config=configs/quickstart.py --workdir=$(WORKDIR)

test: lint
	$(BIN)/python -m pytest -n auto --maxprocesses=4 --dist loadfile

lint: $(VENV)/installed-test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

parity: $(VENV)/installed-parity

acceptance: $(VENV)/installed-parity
	$(BIN)/python -m experiments.acceptance

$(VENV)/python-$(VERSION):
	@case "$(VERSION)" in 3.11|3.12|3.13) ;; *) \
	  echo "error: $(PYTHON) is Python '$(VERSION)'; 3.11, 3.12 or 3.13 is needed: PYTHON=python3.12 make ..." >&2; exit 2;; esac
	$(PYTHON) -m venv --clear $(VENV)
	touch $@

$(VENV)/installed: requirements.txt $(VENV)/python-$(VERSION)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.txt
	touch $@

$(VENV)/installed-test: pyproject.toml $(VENV)/installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[test]'
	touch $@

$(VENV)/installed-parity: $(VENV)/installed-test
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[parity]'
	touch $@

clean:
	rm -rf $(VENV)
