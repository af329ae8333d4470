"""The evaluation of a checkpoint by the metrics that it was trained by."""
