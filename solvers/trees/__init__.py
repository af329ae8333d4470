"""Pytrees: frozen dataclasses as such, and blocks of their rows."""
