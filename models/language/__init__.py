"""A model of text."""
