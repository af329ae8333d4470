"""Generic systems: from a function, from transitions, from an autoregressive network."""
