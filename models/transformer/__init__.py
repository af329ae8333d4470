"""The transformer trunk that the language model, the flow and the denoiser are built on."""
