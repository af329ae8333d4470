"""Images cut into square patches, row by row."""

from __future__ import annotations

from jaxtyping import Array, Float


def check_patches(image_shape: tuple[int, int, int], size: int) -> None:
    """Raise ValueError unless patches of a side divide the images."""
    height, width, channels = image_shape
    if min(height, width, channels) < 1:
        raise ValueError(f"image_shape must hold positive sizes, not {list(image_shape)}")
    if size < 1 or height % size or width % size:
        raise ValueError(f"patch_size {size} does not divide images of {height} x {width} pixels")


def to_patches(images: Float[Array, "N H W C"], size: int) -> Float[Array, "N T P"]:
    """The T patches of each image, each as the P = size^2 C numbers of its pixels."""
    count, height, width, channels = images.shape
    grid = images.reshape(count, height // size, size, width // size, size, channels)
    return grid.transpose(0, 1, 3, 2, 4, 5).reshape(count, -1, size * size * channels)


def from_patches(
    patches: Float[Array, "N T P"], image_shape: tuple[int, int, int], size: int
) -> Float[Array, "N H W C"]:
    """The images of which these are the patches."""
    height, width, channels = image_shape
    grid = patches.reshape(-1, height // size, width // size, size, size, channels)
    return grid.transpose(0, 1, 3, 2, 4, 5).reshape(-1, *image_shape)
