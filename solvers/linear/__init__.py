"""Linear order-one systems: prefix scans, the matrices they take, and how a nonlinear system becomes linear."""
