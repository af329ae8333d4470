"""Parts that two networks or more are built from."""
