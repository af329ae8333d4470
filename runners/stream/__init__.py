"""Sound through a network chunk by chunk."""
