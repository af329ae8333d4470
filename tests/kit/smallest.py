"""The smallest run of every runner that still does all that it does."""

from __future__ import annotations

from typing import Any

from common.paths import CONFIGS, ROOT

WAVENET = {"name": "wavenet", "dilations": [2, 1, 3], "num_hidden": 6, "num_classes": 9, "sample_rate": 1000}
DENSENET = {
    **{"name": "densenet", "growth_rate": 4, "block_layers": [2, 2], "num_init_features": 4, "num_classes": 10},
    **{"bn_size": 2, "image_shape": [28, 28, 1], "stem": "small", "pixel_mean": [0.13], "pixel_std": [0.3]},
}
TRAINING = {"batch_size": 50, "epochs": 2, "learning_rate": 0.01, "warmup_steps": 3, "ema_decay": 0.9}
IMAGES = {"max_train_images": 150, "max_held_out_images": 70, "max_shift": 1}

TRUNK = {"width": 8, "num_layers": 1, "num_heads": 2}

# The smallest config of each runner: (runner, config). FOLDER stands for a temporary folder.
CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "made": (
        "MADESamplerRunner",
        {
            "checkpoint": "made_mnist",
            "solvers": ["cached_sequential", "jacobi", {"name": "gs_jacobi", "block_size": 112}],
            **{"batch_size": 16, "repeats": 1, "seed": 1234},
        },
    ),
    "pixelcnnpp": (
        "PixelCNNPPSamplerRunner",
        {
            "model": {
                **{"name": "pixelcnnpp", "image_shape": [8, 8, 1], "nr_resnet": 1},
                **{"nr_filters": 4, "nr_logistic_mix": 2},
            },
            "solvers": ["sequential", "cached_sequential", "jacobi", {"name": "jacobi_gs", "block_size": 8}],
            **{"batch_size": 3, "repeats": 1, "seed": 1, "trace": False},
        },
    ),
    "wavenet": (
        "WaveNetSamplerRunner",
        {
            "checkpoint": "wavenet_speech",
            "head": {"name": "argmax"},
            "prompt": {"wav": None, "duration_s": 0.06},
            "solvers": [{"name": "cached_sequential"}, {"name": "jacobi", "trace": False}],
            **{"batch_size": 1, "num_samples": 200, "continue_s": 0.01, "repeats": 1, "seed": 1234},
        },
    ),
    "language": (
        "LanguageSamplerRunner",
        {
            "model": {"name": "language", "context": 24, **TRUNK, "num_kv_heads": 1},
            "head": {"top_k": 5, "top_p": 0.9},
            "solvers": ["sequential", "cached_sequential", "jacobi", {"name": "gs_jacobi", "block_size": 6}],
            **{"batch_size": 2, "num_tokens": 16, "prompt": "The", "repeats": 1, "seed": 1},
        },
    ),
    "flow": (
        "SamplerRunner",
        {
            "model": {"name": "flow", "image_shape": [8, 8, 1], "num_blocks": 2, **TRUNK},
            "solvers": [{"name": "segmented", "solver": "cached_sequential"}, "jacobi"],
            **{"batch_size": 2, "repeats": 1, "seed": 1},
        },
    ),
    "diffusion": (
        "SamplerRunner",
        {
            "model": {"name": "diffusion", "image_shape": [8, 8, 1], **TRUNK},
            "equations": {"method": "ddpm", "num_steps": 6, "guidance": 2.0, "classes": [3, 5]},
            "solvers": ["cached_sequential", {"name": "newton", "jacobian": "system"}],
            **{"batch_size": 2, "repeats": 1, "seed": 1},
        },
    ),
    "inversion": (
        "InversionRunner",
        {
            "model": {"name": "diffusion", **TRUNK},
            **{"source": {"data": {}}, "equations": {"num_steps": 4}},
            "solvers": ["cached_sequential", {"name": "newton", "jacobian": "system"}],
            **{"batch_size": 2, "repeats": 1, "seed": 1},
        },
    ),
    "system": (
        "SystemRunner",
        {
            "system": {"path": str(CONFIGS / "example_system.py"), "name": "make_system", "length": 9, "batch_size": 2},
            "solvers": ["sequential", {"name": "jacobi", "tol": 0.1}],
            "repeats": 1,
        },
    ),
    "mcmc": (
        "MCMCRunner",
        {
            "system": {"name": "mcmc", "target": {"name": "two_wells"}, "num_steps": 9, "batch_size": 2},
            "solvers": ["cached_sequential", "jacobi"],
            **{"warmup": 1, "repeats": 1, "trace": False},
        },
    ),
    "survey": (
        "SurveyRunner",
        {
            "systems": {"group": {"name": "permutations", "num_steps": 9, "features": 2}},
            "solvers": ["cached_sequential", "parallel_scan"],
            **{"repeats": 1, "trace": False},
        },
    ),
    "backprop": (
        "BackpropRunner",
        {
            **{"image_size": 4, "num_sequences": 3, "hidden_size": 6, "train_steps": 5, "trainings": 2, "repeats": 1},
            **{"init_scale": 0.5, "learning_rate": 0.1, "seed": 3},
            "solvers": ["sequential", "cached_sequential", "jacobi", "parallel_scan"],
            "methods": ["cached_sequential", {"name": "jacobi", "max_steps": 1}, "parallel_scan"],
        },
    ),
    "forward_rnn": (
        "ForwardRNNRunner",
        {
            "cells": {"gru": {"network": {"cell": "gru"}}},
            **{"batch_size": 2, "sequence_lengths": [8, 40], "state_size": 2, "state_sizes": [1, 2]},
            **{"sequence_length": 8, "sequential_max_length": 20, "repeats": 1, "seed": 3},
            "solvers": ["sequential", {"name": "newton", "max_steps": 12}, "cached_sequential"],
        },
    ),
    "rnn_classifier": (
        "RNNClassifierRunner",
        {
            **{"max_train_images": 60, "hidden_size": 3, "epochs": 2, "batch_size": 20},
            "solvers": ["cached_sequential", "newton"],
        },
    ),
    "densenet": (
        "DenseNetRunner",
        {
            "model": DENSENET,
            **{"num_images": 3, "batch_size": 2, "early_exit": {"k": [2, 1]}, "repeats": 1},
            "solvers": [
                {"name": "sequential", "trace": False},
                {"name": "segmented", "solver": "cached_sequential"},
                {"name": "jacobi"},
            ],
        },
    ),
    "stream": ("StreamRunner", {"model": {**WAVENET, "sample_rate": 16000}, "chunk_ms": 500, "check_s": 1.0}),
    "wavenet_timing": (
        "WaveNetTimingRunner",
        {
            **{"layers": [2, 3], "num_hidden": 4, "num_classes": 8, "num_samples": 64, "repeats": 2, "pin": False},
            "wide": [{"layers": 2, "batch_size": 3}],
        },
    ),
    "evaluate": ("EvaluateRunner", {"checkpoint": "made_mnist", "batch_size": 30, "max_images": 60}),
    "evaluate_classifier": ("EvaluateRunner", {"checkpoint": "densenet_mnist", "batch_size": 30, "max_images": 60}),
    "evaluate_wavenet": ("EvaluateRunner", {"checkpoint": "wavenet_speech_gated", "data": {"max_s": 0.1}}),
    "train": (
        "TrainRunner",
        {
            "model": {"name": "made", "num_inputs": 784, "hidden_sizes": [16]},
            **{**TRAINING, **IMAGES, "eval_draws": 1, "sample_every_epochs": 1},
            "state_dir": "FOLDER/state",
        },
    ),
    "train_classifier": (
        "TrainClassifierRunner",
        {"model": DENSENET, **TRAINING, **IMAGES, "sample_every_epochs": 1, "state_dir": "FOLDER/state"},
    ),
    "train_diffusion": (
        "TrainDiffusionRunner",
        {
            **{"model": {"name": "diffusion", **TRUNK}, "sample_every_epochs": 0, **TRAINING, **IMAGES},
            "state_dir": "FOLDER/state",
        },
    ),
    "train_language": (
        "TrainLanguageRunner",
        {
            "model": {"name": "language", "context": 20, **TRUNK},
            "data": {"name": "text", "file": str(ROOT / "LICENSE")},
            **{**TRAINING, "sample_every_epochs": 0, "state_dir": "FOLDER/state"},
        },
    ),
    "train_wavenet": (
        "TrainWaveNetRunner",
        {
            "model": {**WAVENET, "dilations": [1, 2], "num_classes": 16},
            "data": {"sample_rate": 1000},
            "chunk_size": 500,
            **{"epochs": 2, "learning_rate": 0.01, "warmup_steps": 3, "ema_decay": 0.9},
            "state_dir": "FOLDER/state",
        },
    ),
}
