"""What the benchmark of accelerators counts: systems, their solvers, and the operations of a step."""
