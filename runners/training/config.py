"""The keys of a training config: those of every training, and those of each task."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import (
    BeforeValidator,
    Field,
    SerializerFunctionWrapHandler,
    field_validator,
    model_serializer,
    model_validator,
)

from models import CLASSIFIERS, DENOISERS, FLOWS, LANGUAGES, SAMPLERS, describe_config, model_config
from runners.config.schema import Count, DataConfig, Keys, RunConfig

# Keys that change nothing about the training itself: a run may go on with others.
_FREE: dict[str, Any] = {
    "data": {"root", "download"},
    "model": {"path"},
    **dict.fromkeys(("save_every_s", "state_dir", "eval_every_epochs", "sample_every_epochs", "show_s"), True),
    **dict.fromkeys(("prompt_s", "stop_after", "weights_dtype", "checkpoint_name"), True),
}


_OF_TEXT = ("name", "file", "held_out")  # the keys of data that is text


class TrainConfig(RunConfig):
    """A training: its model, its optimizer, and where its weights go. A task's config adds the ``data``."""

    shares_devices: ClassVar[bool] = True
    trains: ClassVar[Mapping[str, str]]  # the table of models.MODELS that ``model`` is in
    refusals: ClassVar[Mapping[str, str]] = {
        "checkpoint": "weights to begin with are named by init; a run that was stopped goes on from its state_dir"
    }

    # The architecture: {name: made, ...options}, or of a model of one's own {path: my_model.py, name: MyModel,
    # ...options}.
    model: dict[str, Any]

    init: str | None = None  # weights to begin with, a name in the registry or a path; null: random ones

    epochs: Count = 60
    stop_after: Count | None = None  # end after this many epochs, though the schedule is laid out for ``epochs``
    learning_rate: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 1e-3  # the highest, reached after the warm-up
    lr_schedule: Literal["constant", "cosine"] = "cosine"  # after the warm-up; cosine ends at zero
    warmup_steps: Annotated[int, Field(ge=0)] = 100  # from zero, linearly
    weight_decay: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0  # AdamW's, on all but biases and scales
    grad_clip: Annotated[float, Field(gt=0)] | None = 1.0  # largest norm of the whole gradient; null: none
    ema_decay: Annotated[float, Field(ge=0, lt=1)] = 0.999  # of the average of the weights, which is what is kept

    eval_every_epochs: Count = 1  # evaluate after every so many epochs, and after the last
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
        name, path = str(value["name"]), value.get("path")
        if path is None and name not in cls.trains:
            raise ValueError(f"{name} is not a model that is trained so; valid: {', '.join(cls.trains)}")
        return describe_config(name, config, path)

    def identity(self) -> dict[str, Any]:
        """The keys that the trained weights and the history depend on, as plain values."""
        return self.model_dump(mode="json", exclude=_FREE)


class ImageTrainConfig(TrainConfig):
    """Training on a dataset of images."""

    data: DataConfig = DataConfig()
    max_train_images: Count | None = None  # only the first ones, for quick trials and learning curves
    max_held_out_images: Count | None = None
    batch_size: Count = 100  # an epoch's images that fill no whole batch are left to later epochs, which shuffle anew
    max_shift: Annotated[int, Field(ge=0)] = 0  # training images are moved by up to so many pixels, zeros coming in

    def identity(self) -> dict[str, Any]:
        """As of every training; a folder of one's own images counts, where a dataset's only says where it is."""
        kept = super().identity()
        return {**kept, "data": {**kept["data"], "root": self.data.root}} if self.data.name == "folder" else kept


class LikelihoodConfig(ImageTrainConfig):
    """Maximum likelihood of images."""

    trains = SAMPLERS | FLOWS

    eval_draws: Count = 2  # draws of the dequantization noise in each held-out evaluation


class DenoisingConfig(ImageTrainConfig):
    """Telling images from noise, by their classes where the model has some."""

    trains = DENOISERS

    eval_draws: Count = 2  # draws of times and noise in each held-out evaluation


class TextConfig(Keys):
    """A text, and how much of it is held out."""

    name: Literal["topics", "text"] = "topics"  # topics: Python's own help; text: a file
    file: str | None = None  # of a text, in UTF-8
    held_out: Annotated[float, Field(gt=0, lt=1)] | None = None  # share of the paragraphs; null: 0.1

    @model_validator(mode="after")
    def _one_source(self) -> TextConfig:
        if (self.name == "text") != (self.file is not None):
            raise ValueError("file is that of name: text" if self.file else "file is missing: a text in UTF-8")
        return self


class ObjectiveConfig(Keys):
    """What a language model is trained for: a bare name in a config is a mapping with that alone."""

    name: Literal["likelihood", "consistency"] = "likelihood"
    # Of consistency:
    window: Annotated[int, Field(ge=2)] = 32  # characters that the model foretells together
    num_windows: Count = 4  # of each text in each step, one behind the other
    max_steps: Annotated[int, Field(ge=0)] = 7  # the most of Jacobi's steps before the model is asked
    weight: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 0.3  # beside the likelihood

    @property
    def options(self) -> dict[str, Any]:
        """Those of the objective."""
        return {} if self.name == "likelihood" else self.model_dump(exclude={"name"})

    @model_validator(mode="after")
    def _of_consistency(self) -> ObjectiveConfig:
        others = sorted(self.model_fields_set - {"name"})
        if self.name == "likelihood" and others:
            raise ValueError(f"{others[0]} goes with name: consistency, not with likelihood")
        return self

    @model_serializer(mode="wrap")
    def _given(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Without the keys that its objective does not have."""
        kept: dict[str, Any] = handler(self)
        return {"name": self.name} if self.name == "likelihood" and "name" in kept else kept


def _as_mapping(value: Any) -> Any:
    return {"name": value} if isinstance(value, str) else value


Objective = Annotated[ObjectiveConfig, BeforeValidator(_as_mapping)]


class LanguageTrainConfig(TrainConfig):
    """Maximum likelihood of a text, in windows of the model's context, and what ``objective`` adds."""

    trains = LANGUAGES

    data: TextConfig = TextConfig()
    batch_size: Count = 32  # windows
    # likelihood, or consistency: to be solved in few of Jacobi's steps as well; or {name: consistency, ...options}
    objective: Objective = ObjectiveConfig()

    @model_validator(mode="after")
    def _from_trained_weights(self) -> LanguageTrainConfig:
        if self.objective.name == "consistency" and self.init is None:
            raise ValueError("objective consistency goes on from trained weights, which init should name")
        return self

    def identity(self) -> dict[str, Any]:
        """As of every training; the likelihood alone is what trainings were before there was a choice."""
        kept = super().identity()
        return kept if self.objective.name != "likelihood" else {k: v for k, v in kept.items() if k != "objective"}


class ClassifierConfig(ImageTrainConfig):
    """Classes of images."""

    trains = CLASSIFIERS

    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.0  # share of a label that is spread over all classes


class ClipConfig(Keys):
    """An audio clip, or a text, and how much of it is held out."""

    name: Literal["clip", "text"] = "clip"  # text: bytes, which are class ids from 0 to 255
    wav: str | None = None  # a file; null: the embedded sentence; sentences: twenty of the same voice
    sample_rate: Count = 16000  # Hz that the clip is resampled to
    held_out_s: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0  # the clip's end, which is not trained on
    max_s: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None  # only the clip's beginning
    file: str | None = None  # of a text, in UTF-8
    held_out: Annotated[float, Field(gt=0, lt=1)] | None = None  # share of a text's paragraphs or lines; null: 0.1

    @model_validator(mode="after")
    def _of_one_kind(self) -> ClipConfig:
        wrong = [key for key in sorted(self.model_fields_set - {"name"}) if (key in _OF_TEXT) != self.is_text]
        if wrong:
            raise ValueError(f"{wrong[0]} does not go with name: {self.name}")
        if self.is_text and self.file is None:
            raise ValueError("file is missing: a text in UTF-8")
        return self

    @model_serializer(mode="wrap")
    def _given(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """The keys that a clip has, or those of a text."""
        return {key: value for key, value in dump(self).items() if (key in _OF_TEXT) == self.is_text}

    @property
    def is_text(self) -> bool:
        """Whether it is a text, and no sound."""
        return self.name == "text"


class JitterConfig(Keys):
    """Errors in what the network reads, which it then learns to live with."""

    probability: Annotated[float, Field(gt=0, le=1)]  # of a sample to be moved
    classes: Count  # by up to so many, up or down


class AudioConfig(TrainConfig):
    """Maximum likelihood of an audio clip, or of a text."""

    trains = SAMPLERS

    data: ClipConfig  # {} is the embedded speech, {name: text, file: ...} a text
    chunk_size: Count = (
        4000  # samples, or bytes, of a step, which reads all that came before through the network's cache
    )
    input_jitter: JitterConfig | None = None
    show_s: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 3.0  # how much sound is made to look at
    # How much of the clip is given for it. Sound that begins with silence cannot be told from no sound having begun.
    prompt_s: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.1


class EvaluateConfig(RunConfig):
    """The evaluation of a checkpoint; ``seed`` is that of the noise, for models whose metrics depend on any."""

    shares_devices: ClassVar[bool] = True

    checkpoint: str  # a name in the registry or a path
    model: dict[str, Any] | None = None  # the architecture, where the checkpoint does not tell all of it
    data: dict[str, Any] = Field(default_factory=dict)  # as in the training of such a model; {} is what is embedded
    part: Literal["held_out", "train"] = "held_out"  # of a clip of which nothing is held out: all of it
    batch_size: Count = 50  # images at once; a matter of speed and memory alone, where the model has no noise
    draws: Count = 1  # of the noise, for each image
    max_images: Count | None = None  # only the first ones
