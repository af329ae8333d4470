"""Images as sequences of their pixels."""

from __future__ import annotations

import numpy as np

from data import load_dataset
from data.images.sequences import pixel_sequences


def test_pixels_come_in_raster_order_from_0_to_1() -> None:
    images = np.zeros((2, 6, 6, 1), np.uint8)
    images[1, :2, 2:4] = 255
    sequences = pixel_sequences(images, 3)
    assert (sequences.shape, sequences.dtype) == ((9, 2, 1), np.float32)
    assert not sequences[:, 0].any()
    assert int(np.argmax(sequences[:, 1, 0])) == 1
    same = pixel_sequences(images, 6)
    np.testing.assert_array_equal(same[:, 1, 0], images[1].ravel() / np.float32(255))


def test_colours_are_inputs_of_one_equation() -> None:
    images = np.random.default_rng(0).integers(0, 256, (3, 5, 5, 3)).astype(np.uint8)
    np.testing.assert_array_equal(pixel_sequences(images, 5)[7, 2], images[2, 1, 2] / np.float32(255))
    grey = np.repeat(images[..., :1], 3, axis=-1)
    np.testing.assert_array_equal(pixel_sequences(grey, 2)[..., :1], pixel_sequences(images[..., :1], 2))


def test_resizing_averages() -> None:
    image = load_dataset("mnist5k").held_out[:4]
    small = pixel_sequences(image, 10)
    np.testing.assert_allclose(small.mean(axis=(0, 2)), image.mean(axis=(1, 2, 3)) / 255, atol=0.02)
