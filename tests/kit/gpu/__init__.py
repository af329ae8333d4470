"""The smoke list of a GPU: every runner at its smallest, held against the processor, and the promises of equal bits."""
