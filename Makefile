# make demo: sample MADE digits with every solver and compare them. make test: lint, format, types, tests.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: demo test lint results notebooks benchmarks train clean

demo: $(VENV)/.run
	$(BIN)/python main.py --runner MADESamplerRunner --config made_sampler.yml

test: $(VENV)/.dev lint
	$(BIN)/python -m pytest

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# Rerun every shipped config and redraw the notebooks. Training leaves the shipped weights as they are.
results: $(VENV)/.dev
	$(BIN)/python main.py --runner TrainRunner --config train_made_mnist.yml
	$(BIN)/python main.py --runner TrainRunner --config train_made_photos32.yml
	$(BIN)/python main.py --runner MADESamplerRunner --config made_sampler.yml
	$(BIN)/python main.py --runner MADESamplerRunner --config made_photos32_sampler.yml
	$(MAKE) notebooks

notebooks: $(VENV)/.dev
	$(BIN)/jupyter execute --inplace notebooks/*.ipynb

benchmarks: $(VENV)/.run
	$(BIN)/python -m benchmarks.made

# Train the shipped weights anew, and ship them.
train: $(VENV)/.run
	$(BIN)/python main.py --runner TrainRunner --config train_made_mnist.yml --set checkpoint_name=made_mnist
	$(BIN)/python main.py --runner TrainRunner --config train_made_photos32.yml --set checkpoint_name=made_photos32

$(VENV)/bin/python:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed, not " + sys.version.split()[0])'
	$(PYTHON) -m venv $(VENV)

$(VENV)/.run: requirements.txt | $(VENV)/bin/python
	$(BIN)/python -m pip install --disable-pip-version-check -q -r requirements.txt
	touch $@

$(VENV)/.dev: requirements-dev.txt $(VENV)/.run
	$(BIN)/python -m pip install --disable-pip-version-check -q -r requirements-dev.txt
	touch $@

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis
