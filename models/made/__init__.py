"""MADE: masked dense layers, one equation a pixel."""
