"""RNN backpropagation as a linear system: gradients by every solver, and trainings with them."""
