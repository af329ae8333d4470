"""Diffusion models of images."""
