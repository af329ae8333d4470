"""What all trainings on images share: the dataset's arrays, the order of an epoch, augmentation."""

from __future__ import annotations

from typing import Any, ClassVar, TypeAlias

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Int, Int32, UInt8

from data import load_dataset
from runners.config.schema import UsageError
from runners.training.config import ImageTrainConfig
from runners.training.task import Evaluated

# Images (N, H, W, C) and their classes (N,).
Labelled: TypeAlias = tuple[UInt8[Array, "N H W C"], Int32[Array, " N"]]


class ImageTask:
    """The part of a TrainTask that does not depend on what is learnt about the images."""

    evaluated = Evaluated(prefix="held_out_", words="held-out")
    verb: ClassVar[str]  # what a model does with images, in messages

    def __init__(self, config: ImageTrainConfig, model: Any) -> None:
        """Load the dataset. Raises DatasetError, or UsageError where model or batches do not fit it."""
        dataset = load_dataset(config.data.name, root=config.data.root, download=config.data.download)
        self.dataset, self.batch_size, self.max_shift = dataset.name, config.batch_size, config.max_shift
        train, held_out = slice(config.max_train_images), slice(config.max_held_out_images)
        self.train: Labelled = (jnp.asarray(dataset.train[train]), jnp.asarray(dataset.train_labels[train]))
        self.held_out: Labelled = (
            jnp.asarray(dataset.held_out[held_out]),
            jnp.asarray(dataset.held_out_labels[held_out]),
        )
        self.num_examples = len(self.train[0])
        if self.batch_size > self.num_examples:
            raise UsageError(f"batch_size {self.batch_size} is more than the {self.num_examples} training images")
        if model.image_shape != dataset.image_shape:
            raise UsageError(
                f"model {config.model['name']} {self.verb} images of shape {list(model.image_shape)}, the dataset "
                f"{dataset.name} has {list(dataset.image_shape)}"
            )

    def order(self, key: Array) -> Int[Array, " N"]:
        """Another one every epoch."""
        return jax.random.permutation(key, self.num_examples)

    def begin_epoch(self, model: Any) -> Any:
        """Nothing: images are independent."""
        return ()

    def augmented(self, batch: Labelled, key: Array) -> Labelled:
        """Images moved by up to ``max_shift`` pixels."""
        images, labels = batch
        return shifted(images, key, self.max_shift), labels

    def record(self) -> dict[str, Any]:
        """None."""
        return {}


def shifted(images: UInt8[Array, "B H W C"], key: Array, most: int) -> UInt8[Array, "B H W C"]:
    """Each image moved by up to ``most`` pixels down or up and right or left, zeros coming in."""
    if most == 0:
        return images
    padded = jnp.pad(images, ((0, 0), (most, most), (most, most), (0, 0)))
    corners = jax.random.randint(key, (images.shape[0], 2), 0, 2 * most + 1)
    return jax.vmap(lambda image, corner: lax.dynamic_slice(image, (*corner, 0), images.shape[1:]))(padded, corners)
