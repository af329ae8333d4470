"""The tasks of training, a file for each: likelihood of images, classes of images, likelihood of sound."""
