"""The published experiments with PixelCNN++: one network, and a name for each list of solvers."""

from __future__ import annotations

from runners.sampling.runner import SamplerRunner


class PixelCNNPPSamplerRunner(SamplerRunner):
    """PixelCNN++ without a cache: pixel by pixel, and by Jacobi."""

    model_name = "pixelcnnpp"


class CachedPixelCNNPPSamplerRunner(SamplerRunner):
    """PixelCNN++ with a cache, pixel by pixel."""

    model_name = "pixelcnnpp"


class JacobiGSPixelCNNPPSamplerRunner(SamplerRunner):
    """PixelCNN++ by Jacobi over rows, each with a cache."""

    model_name = "pixelcnnpp"


class GSJacobiPixelCNNPPSamplerRunner(SamplerRunner):
    """PixelCNN++ by windows of rows in order, Jacobi inside."""

    model_name = "pixelcnnpp"
