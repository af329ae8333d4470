# make demo: sample MADE digits with every solver and compare them. make test: lint, format, types, tests.
# make gpu: every runner at its smallest on a GPU, held against the processor; where there is none, it says so.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: demo test lint gpu fuzz results notebooks benchmarks train clean

demo: $(VENV)/.run
	$(BIN)/python main.py --runner MADESamplerRunner --config made_sampler.yml

test: $(VENV)/.dev lint
	$(BIN)/python -m pytest -n auto --maxprocesses 4 --dist loadfile  # what a file prepares is prepared once

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

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

# Rerun the shipped configs and redraw the notebooks. Training leaves the shipped weights as they are; PixelCNN++ is not
# trained here, as that takes hours (see train), and neither is pixelcnnpp_cifar10.yml run, whose weights do not ship.
results: export JAX_ENABLE_COMPILATION_CACHE = 0 # so that compile_s is the time of compiling
results: $(VENV)/.dev
	$(BIN)/python main.py --runner TrainRunner --config train_made_mnist.yml
	$(BIN)/python main.py --runner TrainRunner --config train_made_photos32.yml
	$(BIN)/python main.py --runner MADESamplerRunner --config made_sampler.yml
	$(BIN)/python main.py --runner MADESamplerRunner --config made_photos32_sampler.yml
	$(BIN)/python main.py --runner PixelCNNPPSamplerRunner --config pixelcnnpp_sampler.yml
	$(BIN)/python main.py --runner CachedPixelCNNPPSamplerRunner --config cached_pixelcnnpp_sampler.yml
	$(BIN)/python main.py --runner JacobiGSPixelCNNPPSamplerRunner --config jacobi_gs_pixelcnnpp_sampler.yml
	$(BIN)/python main.py --runner GSJacobiPixelCNNPPSamplerRunner --config gs_jacobi_pixelcnnpp_sampler.yml
	$(BIN)/python main.py --runner SamplerRunner --config pixelcnnpp_photos32_sampler.yml
	$(BIN)/python main.py --runner BackpropRunner --config backprop.yml
	$(BIN)/python main.py --runner ForwardRNNRunner --config forward_rnn.yml
	$(BIN)/python main.py --runner ForwardRNNRunner --config forward_rnn_cells.yml
	$(BIN)/python main.py --runner RNNClassifierRunner --config rnn_classifier.yml
	$(BIN)/python main.py --runner SystemRunner --config ode_pendulum.yml
	$(BIN)/python main.py --runner SystemRunner --config ode_contraction.yml
	$(BIN)/python main.py --runner SystemRunner --config ode_lorenz63.yml
	$(BIN)/python main.py --runner SystemRunner --config residual_network.yml
	$(BIN)/python main.py --runner MCMCRunner --config mcmc_hmc.yml
	$(BIN)/python main.py --runner MCMCRunner --config mcmc_mala.yml
	$(BIN)/python main.py --runner MCMCRunner --config mcmc_eight_schools.yml
	$(BIN)/python main.py --runner MCMCRunner --config mcmc_two_wells.yml
	$(BIN)/python main.py --runner SurveyRunner --config when_it_pays.yml
	$(BIN)/python main.py --runner DenseNetRunner --config densenet.yml
	$(BIN)/python main.py --runner DenseNetRunner --config densenet201.yml
	$(BIN)/python main.py --runner WaveNetSamplerRunner --config wavenet_sampler.yml
	$(BIN)/python main.py --runner WaveNetSamplerRunner --config wavenet_gated_sampler.yml
	$(BIN)/python main.py --runner WaveNetTimingRunner --config wavenet_timing.yml
	$(BIN)/python main.py --runner StreamRunner --config stream.yml
	$(BIN)/python main.py --runner LanguageSamplerRunner --config language_sampler.yml
	$(BIN)/python main.py --runner LanguageSamplerRunner --config language_consistency_sampler.yml
	$(BIN)/python main.py --runner SamplerRunner --config flow_sampler.yml
	$(BIN)/python main.py --runner SamplerRunner --config maf_sampler.yml
	$(BIN)/python main.py --runner SamplerRunner --config diffusion_sampler.yml
	$(BIN)/python main.py --runner SamplerRunner --config diffusion_ddpm.yml
	$(BIN)/python main.py --runner SamplerRunner --config diffusion_dpm_solver.yml
	$(BIN)/python main.py --runner InversionRunner --config diffusion_inversion.yml
	$(MAKE) notebooks

notebooks: $(VENV)/.dev
	$(BIN)/jupyter execute --inplace notebooks/*.ipynb

benchmarks: $(VENV)/.run
	$(BIN)/python -m benchmarks.made
	$(BIN)/python -m benchmarks.pixelcnnpp
	$(BIN)/python -m benchmarks.prefix_scan
	$(BIN)/python -m benchmarks.newton
	$(BIN)/python -m benchmarks.wavenet
	$(BIN)/python -m benchmarks.densenet
	$(BIN)/python -m benchmarks.scaling
	$(BIN)/python -m benchmarks.couplings
	$(BIN)/python -m benchmarks.accelerator

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
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis
