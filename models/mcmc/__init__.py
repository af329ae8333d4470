"""Chains of Markov chain Monte Carlo whose noise is bound beforehand: states that follow from one another."""
