"""A user's own text, as bytes."""
