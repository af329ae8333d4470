"""Measuring solvers: times, exactness, and the way to the answer."""
