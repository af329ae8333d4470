"""Schemas of configs, which answer a mistake with the nearest valid choice."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar, Literal, TypeVar, get_args

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    ValidationError,
    field_validator,
    model_serializer,
)

from common.errors import UserError
from common.names import unknown
from common.options import explain

# Keys of the two published code bases, and what took their place.
SUCCESSORS: dict[str, str] = {
    "algo": "solvers (a list of {name: ...})",
    "algorithm": "solvers (a list of {name: ...})",
    "ckpt_path": "checkpoint",
    "sample_batch_size": "batch_size",
    "max_rows": "block_size (an option of the solver gs_jacobi, in equations)",
    "block_size": "block_size inside an entry of solvers",
    "n_iters": "max_steps",
    "num_iters": "max_steps",
    "image_folder": "the flag --out",
    "save_folder": "the flag --out",
    "data_dir": "root inside data",
    "dataset": "data (a mapping with a name)",
    **{key: f"{key} inside model" for key in ("nr_resnet", "nr_filters", "nr_logistic_mix")},
    "image_size": "image_shape inside model",
    "hidden_size": "hidden_sizes inside model",
    "hidden_layers": "hidden_sizes inside model, a number for each layer",
    "lr": "learning_rate",
    "doc": "the flag --out",
    "run": "the flag --out",
}


Count = Annotated[int, Field(ge=1)]


class UsageError(UserError):
    """The command line or the config asks for something that cannot be had (exit code 2)."""


class Keys(BaseModel):
    """A mapping in a config, or all of it: other keys than a schema's are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class MeshChoice(Keys):
    """How many devices share each axis of the state; together they are as many as the product says."""

    batch: Count = 1  # each has as many samples
    equations: Count = 1  # each has a stretch of the equations, of the same samples


class RunConfig(Keys):
    """The keys that every config has."""

    successors: ClassVar[Mapping[str, str]] = {}  # of keys that this schema had once
    refusals: ClassVar[Mapping[str, str]] = {}  # of keys that look as if they belonged here, and why they do not
    shares_devices: ClassVar[bool] = False  # whether such a run can be divided among several

    runner: str | None = Field(None, exclude=True)  # which experiment this is a config of; results name it beside it
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 1234  # of all that is drawn at random
    # The devices that share the work, {batch: 4}, {equations: 8} or both; null: all of them share the batch where they
    # divide it, else there is one. Results name it beside the device.
    mesh: MeshChoice | None = Field(None, exclude=True)
    # How float32 numbers are multiplied where the device has a choice, by JAX's names. The last two round the factors,
    # so that solvers differ by more than rounding. Results name it beside the device.
    precision: Literal["float32", "tensorfloat32", "bfloat16"] = Field("float32", exclude=True)

    @field_validator("mesh")
    @classmethod
    def _check_mesh(cls, value: MeshChoice | None) -> MeshChoice | None:
        if value is not None and not cls.shares_devices and value != MeshChoice():
            raise ValueError(
                "this experiment runs on one device, as it makes one sample after the other; leave mesh out"
            )
        return value


class DataConfig(Keys):
    """The dataset that a config names, and where its files are."""

    name: str = "mnist5k"  # one of data.DATASETS
    root: str | None = None  # the folder of its files; null: datasets/ in the current folder
    download: bool = False  # fetch files that are not there
    # Of one's own images, name: folder or name: arrays.
    size: tuple[Count, Count] | None = None  # (height, width) that the pictures of a folder are cut to; null: their own
    mode: Literal["L", "RGB"] | None = None  # gray or colour; null: as the pictures of a folder are
    file: str | None = None  # the .npy or .npz of arrays
    key: str | None = None  # the name of the images in it; null: the only array, or images
    labels: str | None = None  # the name of the classes in it; null: one class
    held_out: Annotated[float, Field(gt=0, lt=1)] | None = None  # share of the images; null: 0.1

    @model_serializer(mode="wrap")
    def _given(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """The keys that every dataset has, and of one's own those that are given."""
        always = ("name", "root", "download")
        return {key: value for key, value in dump(self).items() if key in always or value is not None}


C = TypeVar("C", bound=BaseModel)
IN_ORDER = AfterValidator(lambda values: sorted(set(values)))  # a list of numbers, the least first and each once


def check_config(schema: type[C], config: Mapping[str, Any], source: str) -> C:
    """Build the schema's instance. Raises UsageError: one sentence, with the valid keys, near misses first."""
    try:
        return schema.model_validate(dict(config))
    except ValidationError as error:
        raise UsageError(f"{source}: {_explain(schema, error)}") from None


def _explain(schema: type[BaseModel], error: ValidationError) -> str:
    problems = error.errors()
    extra = [problem for problem in problems if problem["type"] == "extra_forbidden"]
    if not extra:
        return explain(error)
    location = [str(part) for part in extra[0]["loc"]]
    key, fields = location[-1], _fields_at(schema, location[:-1])
    own = schema if issubclass(schema, RunConfig) else RunConfig
    if not location[:-1] and key in own.refusals:
        return f"config key {key!r} does not belong here: {own.refusals[key]}"
    successors = SUCCESSORS if location[:-1] else {**SUCCESSORS, **own.successors}
    if key in successors:
        return f"config key {'.'.join(location)!r} belongs to an older code base; its successor is {successors[key]}"
    inside = f" in {'.'.join(location[:-1])}" if location[:-1] else ""
    return unknown(f"config key{inside}", key, fields)


def _fields_at(schema: type[BaseModel], location: Sequence[str]) -> list[str]:
    current = schema
    for part in location:
        field = current.model_fields.get(part)
        if field is None:
            continue  # an index into a list
        kinds = [field.annotation, *get_args(field.annotation)]
        nested = [kind for kind in kinds if isinstance(kind, type) and issubclass(kind, BaseModel)]
        current = nested[0] if nested else current
    return list(current.model_fields)
