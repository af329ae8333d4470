"""Trained weights: the format, the registry, downloads, and importers of foreign files."""
