"""A recurrent classifier trained with several solvers of its forward pass."""
