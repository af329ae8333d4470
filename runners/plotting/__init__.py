"""Pictures and sounds, drawn from records and arrays alone."""
