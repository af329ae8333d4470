"""DenseNet's layers solved for image by image."""
