"""The solvers, one file for each name of ``solvers.SOLVERS``."""
