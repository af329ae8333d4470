"""Experiments: config -> data, model, system, solvers -> results.

``RUNNERS`` maps the names that users know to classes, which are imported when they are asked for.
"""

from __future__ import annotations

from typing import Any

from common.alias import alias
from common.table import Table

alias("trisolve", "solvers")  # a user's file imports the library by its installed name, and gets what runners know

RUNNERS: Table[Any] = Table(
    "runner",
    {
        "MADESamplerRunner": "runners.sampling.runner:MADESamplerRunner",
        # One runner by four names: without a cache, pixel by pixel and by Jacobi; with a cache, pixel by pixel; by
        # Jacobi over rows, each with a cache; by windows of rows in order, Jacobi inside.
        "PixelCNNPPSamplerRunner": "runners.sampling.runner:PixelCNNPPSamplerRunner",
        "CachedPixelCNNPPSamplerRunner": "runners.sampling.runner:PixelCNNPPSamplerRunner",
        "JacobiGSPixelCNNPPSamplerRunner": "runners.sampling.runner:PixelCNNPPSamplerRunner",
        "GSJacobiPixelCNNPPSamplerRunner": "runners.sampling.runner:PixelCNNPPSamplerRunner",
        "WaveNetSamplerRunner": "runners.sampling.runner:WaveNetSamplerRunner",
        "LanguageSamplerRunner": "runners.sampling.runner:LanguageSamplerRunner",
        "InversionRunner": "runners.sampling.runner:InversionRunner",  # from images to their noise, and back
        "WaveNetTimingRunner": "runners.wavenet_timing.runner:WaveNetTimingRunner",
        "SamplerRunner": "runners.sampling.runner:SamplerRunner",  # any model of images, or of one's own
        "SystemRunner": "runners.system.runner:SystemRunner",  # any system, from a file of one's own
        "MCMCRunner": "runners.system.mcmc:MCMCRunner",  # chains of samples
        "SurveyRunner": "runners.survey.runner:SurveyRunner",  # many systems of order one: when does it pay?
        "BackpropRunner": "runners.rnn.backprop.runner:BackpropRunner",
        "ForwardRNNRunner": "runners.rnn.forward.runner:ForwardRNNRunner",
        "RNNClassifierRunner": "runners.rnn.classifier.runner:RNNClassifierRunner",
        "DenseNetRunner": "runners.densenet.runner:DenseNetRunner",
        "StreamRunner": "runners.stream.runner:StreamRunner",
        "EvaluateRunner": "runners.training.evaluation:EvaluateRunner",  # any model that is trained
        "TrainRunner": "runners.training.runner:TrainRunner",
        "TrainClassifierRunner": "runners.training.runner:TrainClassifierRunner",
        "TrainWaveNetRunner": "runners.training.runner:TrainWaveNetRunner",
        "TrainDiffusionRunner": "runners.training.runner:TrainDiffusionRunner",
        "TrainLanguageRunner": "runners.training.runner:TrainLanguageRunner",
    },
)
