"""Experiments: config -> data, model, system, solvers -> results.

``RUNNERS`` maps the names that users know to classes, resolved on use: "module:class".
"""

from __future__ import annotations

RUNNERS: dict[str, str] = {
    "MADESamplerRunner": "runners.sampling:MADESamplerRunner",
    "PixelCNNPPSamplerRunner": "runners.pixelcnnpp_sampling:PixelCNNPPSamplerRunner",
    "CachedPixelCNNPPSamplerRunner": "runners.pixelcnnpp_sampling:CachedPixelCNNPPSamplerRunner",
    "JacobiGSPixelCNNPPSamplerRunner": "runners.pixelcnnpp_sampling:JacobiGSPixelCNNPPSamplerRunner",
    "GSJacobiPixelCNNPPSamplerRunner": "runners.pixelcnnpp_sampling:GSJacobiPixelCNNPPSamplerRunner",
    "WaveNetSamplerRunner": "runners.wavenet_sampling:WaveNetSamplerRunner",
    "WaveNetTimingRunner": "runners.wavenet_timing:WaveNetTimingRunner",
    "SamplerRunner": "runners.sampling:SamplerRunner",  # any model of images
    "BackpropRunner": "runners.backprop:BackpropRunner",
    "ForwardRNNRunner": "runners.forward_rnn:ForwardRNNRunner",
    "RNNClassifierRunner": "runners.rnn_classifier:RNNClassifierRunner",
    "DenseNetRunner": "runners.densenet:DenseNetRunner",
    "StreamRunner": "runners.stream:StreamRunner",
    "EvaluateRunner": "runners.evaluate:EvaluateRunner",  # any model
    "TrainRunner": "runners.training:TrainRunner",
    "TrainClassifierRunner": "runners.training:TrainClassifierRunner",
    "TrainWaveNetRunner": "runners.training:TrainWaveNetRunner",
}
