"""Any system of equations under any list of solvers."""
