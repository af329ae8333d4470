"""Recurrent networks, forward and backward in time."""
