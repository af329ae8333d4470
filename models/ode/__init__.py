"""Systems that are stated and not trained: steps of differential equations, and a residual network's layers."""
