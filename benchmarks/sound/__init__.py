"""Benchmarks of what is heard."""
