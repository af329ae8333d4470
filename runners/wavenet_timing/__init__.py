"""WaveNet's time per sample by its depth."""
