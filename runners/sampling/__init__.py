"""Sampling from an autoregressive model with any list of solvers."""
