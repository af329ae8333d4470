"""The keys of a training config."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, field_validator

from models import describe_config, model_config
from runners.config import DataConfig, RunConfig

Count = Annotated[int, Field(ge=1)]

# Keys that change nothing about the training itself: a run may go on with others.
_FREE: dict[str, Any] = {
    "data": {"root", "download"},
    "save_every_s": True,
    "state_dir": True,
    "sample_every_epochs": True,
    "stop_after": True,
    "weights_dtype": True,
    "checkpoint_name": True,
}


class TrainConfig(RunConfig):
    """What to train, on what, how, and what becomes of the weights."""

    model: dict[str, Any]  # the architecture: name and options, as in models.MODELS
    data: DataConfig = DataConfig()
    max_train_images: Count | None = None  # only the first ones, for quick trials and learning curves
    max_held_out_images: Count | None = None

    batch_size: Count = 100
    epochs: Count = 60  # an epoch's images that fill no whole batch are left to later epochs, which shuffle anew
    stop_after: Count | None = None  # end after this many epochs, though the schedule is laid out for ``epochs``
    learning_rate: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 1e-3  # the highest, reached after the warm-up
    lr_schedule: Literal["constant", "cosine"] = "cosine"  # after the warm-up; cosine ends at zero
    warmup_steps: Annotated[int, Field(ge=0)] = 100  # from zero, linearly
    weight_decay: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0  # AdamW's, on all but biases and scales
    grad_clip: Annotated[float, Field(gt=0)] | None = 1.0  # largest norm of the whole gradient; null: none
    ema_decay: Annotated[float, Field(ge=0, lt=1)] = 0.999  # of the average of the weights, which is what is kept
    max_shift: Annotated[int, Field(ge=0)] = 0  # training images are moved by up to so many pixels, zeros coming in

    eval_draws: Count = 2  # draws of the dequantisation noise in each held-out evaluation
    save_every_s: Annotated[float, Field(ge=0)] = 15.0  # how much work a kill may cost
    # How often state_dir's progress/ gets samples and the weights so far; null: ten times in all, 0: never.
    sample_every_epochs: Annotated[int, Field(ge=0)] | None = None
    state_dir: str | None = None  # where an unfinished run keeps its state; null: runs/<config name>/
    weights_dtype: Literal["float16", "float32"] = "float32"  # of the weights in the file
    checkpoint_name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]*$")] | None = None  # also ship under this name

    @field_validator("model")
    @classmethod
    def _check_model(cls, value: dict[str, Any]) -> dict[str, Any]:
        """The mapping with every option filled in; ModelError is a ValueError that names what is wrong."""
        config = model_config(value)
        return describe_config(str(value["name"]), config)

    def identity(self) -> dict[str, Any]:
        """All that the trained weights and the history depend on, as plain values."""
        return self.model_dump(mode="json", exclude=_FREE)
