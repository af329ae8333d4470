"""Weights of other code bases, one importer for each format."""
