"""Solver x model x size -> JSON, and the limits that the figures are held against."""
