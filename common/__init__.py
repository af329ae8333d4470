"""What every room may use: helpers that import nothing else of the project."""
