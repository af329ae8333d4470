"""The experiments with recurrent networks."""
