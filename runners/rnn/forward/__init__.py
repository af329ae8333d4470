"""Forward passes of recurrent networks: time, steps and memory by length and by size of the state."""
