"""WaveNet: dilated causal convolutions, one equation a sample of sound."""
