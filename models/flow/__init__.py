"""Normalizing flows whose blocks are autoregressive."""
