"""DenseNet: its layers are the equations."""
