"""Many systems of order one under one list of solvers: when does solving in parallel pay?"""
