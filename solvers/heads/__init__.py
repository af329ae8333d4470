"""Output distributions: log-probabilities, and samples as a function of noise."""
