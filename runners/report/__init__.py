"""What a run found, as one value, and how it is shown."""
