# make demo: sample MADE digits with every solver and compare them. make test: lint, format, types, tests.
# make docs: the site of the documentation. make gpu: every runner at its smallest on a GPU, against the processor.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# Let Python keep its bytecode also where the environment forbids it: tests start many processes, and each would compile
# what it imports anew.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: demo test lint docs gpu fuzz results regressions notebooks benchmarks train clean

demo: $(VENV)/.run
	$(BIN)/python main.py --runner MADESamplerRunner --config made_sampler.yml

test: $(VENV)/.dev lint
	$(BIN)/python -m pytest -n auto --maxprocesses 4 --dist loadfile  # what a file prepares is prepared once

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# The site of the documentation, in site/: open site/index.html. It takes nothing from the network.
docs: $(VENV)/.dev
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict

# Installs nothing of CUDA: without a GPU there is nothing to install it for, and the sentence says how it is done.
gpu: $(VENV)/.run
	$(BIN)/python -m tests.kit.gpu

# Random systems, configs, runs and files, and kills at random moments: hours. Each prints its cases and its faults.
fuzz: $(VENV)/.dev
	$(BIN)/python -m tests.fuzz.configs 10000
	$(BIN)/python -m tests.fuzz.runs 300
	$(BIN)/python -m tests.fuzz.kills 20
	$(BIN)/python -m tests.fuzz.solvers 5000
	$(BIN)/python -m tests.fuzz.files 10000

# The configs whose results ship, in the order in which they are run again. Trainings among them leave the shipped weights
# as they are. PixelCNN++ is not trained here, as that takes hours (see train), and neither is pixelcnnpp_cifar10.yml run,
# whose weights do not ship.
SHIPPED := \
	train_made_mnist train_made_photos32 \
	made_sampler made_photos32_sampler \
	pixelcnnpp_sampler cached_pixelcnnpp_sampler jacobi_gs_pixelcnnpp_sampler gs_jacobi_pixelcnnpp_sampler \
	pixelcnnpp_photos32_sampler \
	backprop forward_rnn forward_rnn_cells rnn_classifier \
	ode_pendulum ode_contraction ode_lorenz63 residual_network \
	mcmc_hmc mcmc_mala mcmc_eight_schools mcmc_two_wells \
	when_it_pays \
	densenet densenet201 \
	wavenet_sampler wavenet_gated_sampler wavenet_timing stream \
	language_sampler language_consistency_sampler \
	flow_sampler maf_sampler \
	diffusion_sampler diffusion_ddpm diffusion_dpm_solver diffusion_inversion
CONFIG ?= $(SHIPPED)

# Run them again, or those that CONFIG names (make results CONFIG="made_sampler backprop"), into plot_data/reference/, and
# write the notebooks, and the tables of the README and of the pages, anew. Where files differ from the commit checked
# out, the first of them refuses to run. No program is kept between them, so that compile_s is the time of compiling.
results: export JAX_ENABLE_COMPILATION_CACHE = 0
results: $(VENV)/.dev
	for config in $(CONFIG); do \
		$(BIN)/python main.py --config $$config.yml --out plot_data/reference/$$config || exit; \
	done
	$(MAKE) notebooks
	$(BIN)/python -m docs.tools.tables && $(BIN)/python -m docs.tools.pictures

# Run some of them afresh, and hold their answers against those that ship.
regressions: $(VENV)/.run
	fresh=$$(mktemp -d) && for config in made_sampler backprop densenet; do \
		$(BIN)/python main.py --config $$config.yml --out $$fresh/$$config || exit; \
	done && $(BIN)/python main.py --compare plot_data/reference $$fresh --out $$fresh/comparison

notebooks: $(VENV)/.dev
	$(BIN)/jupyter execute --inplace notebooks/*.ipynb

# Each says which limits it misses; at last their ratios are held against the committed ones. Where the CUDA wheels are,
# the benchmark of accelerators counts its five cases alone (all shipped configs take hours), and misses the limit of a
# cached pixel, so this exits with 1 there.
benchmarks: $(VENV)/.run
	missed=; for name in made pixelcnnpp compile prefix_scan newton wavenet sound.voice densenet scaling couplings \
			"accelerator made pixelcnnpp wavenet densenet201 gru" auto gate; do \
		$(BIN)/python -m benchmarks.$$name || missed="$$missed $$name"; \
	done; test -z "$$missed" || { echo "limits or ratios are missed:$$missed"; exit 1; }

# Train the shipped weights anew, and ship them. The last two take hours on a processor.
train: $(VENV)/.run
	$(BIN)/python main.py --runner TrainRunner --config train_made_mnist.yml --set checkpoint_name=made_mnist
	$(BIN)/python main.py --runner TrainRunner --config train_made_photos32.yml --set checkpoint_name=made_photos32
	$(BIN)/python main.py --runner TrainClassifierRunner --config train_densenet.yml --set checkpoint_name=densenet_mnist
	$(BIN)/python main.py --runner TrainWaveNetRunner --config train_wavenet.yml --set checkpoint_name=wavenet_speech
	$(BIN)/python main.py --runner TrainWaveNetRunner --config train_wavenet_gated.yml --set checkpoint_name=wavenet_speech_gated
	$(BIN)/python main.py --runner TrainRunner --config train_flow.yml --set checkpoint_name=flow_mnist
	$(BIN)/python main.py --runner TrainRunner --config train_maf.yml --set checkpoint_name=maf_mnist
	$(BIN)/python main.py --runner TrainDiffusionRunner --config train_diffusion.yml --set checkpoint_name=diffusion_mnist
	$(BIN)/python main.py --runner TrainLanguageRunner --config train_language.yml --set checkpoint_name=language_topics
	$(BIN)/python main.py --runner TrainLanguageRunner --config train_language_consistency.yml --set checkpoint_name=language_consistency
	$(BIN)/python main.py --runner TrainRunner --config train_pixelcnnpp_mnist.yml --set checkpoint_name=pixelcnnpp_mnist
	$(BIN)/python main.py --runner TrainRunner --config train_pixelcnnpp_photos32.yml --set checkpoint_name=pixelcnnpp_photos32

$(VENV)/bin/python:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed, not " + sys.version.split()[0])'
	$(PYTHON) -m venv $(VENV)

# Python compiles what is imported as it goes; to compile all of torch beforehand takes a minute.
$(VENV)/.run: requirements.txt | $(VENV)/bin/python
	$(BIN)/python -m pip install --disable-pip-version-check --no-compile -q -r requirements.txt
	touch $@

$(VENV)/.dev: requirements-dev.txt $(VENV)/.run
	$(BIN)/python -m pip install --disable-pip-version-check --no-compile -q -r requirements-dev.txt
	touch $@

clean:
	rm -rf $(VENV) site .mypy_cache .ruff_cache .pytest_cache .hypothesis
