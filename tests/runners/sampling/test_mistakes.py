"""Noise, pixels and options that a sampler cannot take: one sentence that helps, and the right exit code."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from data import DATASETS
from runners.sampling.guess import GUESSES
from tests.kit.mistakes import (
    NOT_NPZ,
    PIXELS,
    SHAPE,
    Row,
    Write,
    check_in_a_process_of_its_own,
    check_mistake,
    first_half,
    holds,
    native,
    near,
    noise,
    npy,
    npz,
    sampling,
    spoiled,
    training,
)

NOISE = "noise_file '{here}/n.npz'"


FILES = [
    sampling("noise_missing", f"{NOISE} does not exist", noise_file="{here}/n.npz"),
    sampling("noise_folder", "noise_file '{here}' is a folder; expected an .npz file", noise_file="{here}"),
    noise("text", NOT_NPZ, holds(b"text")),
    noise("empty", f"{NOT_NPZ}: it is empty", holds(b"")),
    noise("cut", NOT_NPZ, spoiled(npz(logistic_noise=np.zeros((4, 36))), first_half)),
    noise("npy", f"{NOT_NPZ}: it is a single .npy array", npy),
    noise(
        "damaged",
        re.compile(NOISE + " is not readable: Bad CRC-32 .*"),
        spoiled(npz(logistic_noise=np.zeros((4, 36))), lambda content: content[:300] + b"?" + content[301:]),
    ),
    noise("objects", re.compile(NOISE + " is not readable: .*"), npz(logistic_noise=np.full((4, 36), None))),
    noise("name", f"{NOISE}: array 'logistic_noise' is missing; it has: noise, seed", npz(noise=np.zeros(3), seed=1)),
    noise(
        "order_of_axes",
        f"{NOISE}: logistic_noise has shape (36, 4), expected (4, 36) (batch first)",
        npz(logistic_noise=np.zeros((36, 4))),
    ),
    noise("number", f"{NOISE}: logistic_noise has shape (), expected (4, 36) (batch first)", npz(logistic_noise=1.0)),
    noise(
        "batch",
        f"{NOISE}: logistic_noise is a batch of 5, the config says batch_size: 4",
        npz(logistic_noise=np.zeros((5, 36))),
    ),
    *(
        noise(
            name,
            f"{NOISE}: logistic_noise holds values that are not finite float32 numbers",
            npz(logistic_noise=np.where(np.eye(4, 36, 3) > 0, value, 0.0)),
        )
        for name, value in (("nan", np.nan), ("infinite", np.inf), ("overflow", 1e300))
    ),
    noise(
        "text_inside",
        f"{NOISE}: logistic_noise holds <U1 values, expected float32",
        npz(logistic_noise=np.full((4, 36), "a")),
    ),
    noise(
        "complex",
        f"{NOISE}: logistic_noise holds complex128 values, expected float32",
        npz(logistic_noise=np.full((4, 36), 1j)),
    ),
    training(
        "dataset_near",
        near("unknown dataset 'mnst'; did you mean 'mnist'?", "mnist", *(name for name in DATASETS if name != "mnist")),
        data={"name": "mnst"},
    ),
    training("dataset_far", f"unknown dataset 'zzz'; valid: {', '.join(DATASETS)}", data={"name": "zzz"}),
    training(
        "dataset_missing",
        re.compile(
            "dataset 'mnist' is not in {here}/data: put .*train-images-idx3-ubyte.gz.* into {here}/data/MNIST/raw, or "
            "set `download: true`, or use the embedded 'mnist5k'"
        ),
        data={"name": "mnist", "root": "{here}/data"},
    ),
    training(
        "dataset_root",
        "dataset 'mnist5k' is embedded and takes no 'root': leave out 'root' and 'download'",
        data={"root": "{here}"},
    ),
    training(
        "dataset_shape",
        "model made draws images of shape [6, 6, 1], the dataset mnist5k has [28, 28, 1]",
        warmup_steps=0,
        model={"name": "made", "num_inputs": 36, "hidden_sizes": [8]},
    ),
]


def pixelcnnpp(name: str, sentence: str | re.Pattern[str], write: Write | None = None, **changes: Any) -> Any:
    """A row with a tiny PixelCNN++; ``write`` makes its noise."""
    rest: dict[str, Any] = {"model": PIXELS, **changes}
    if write is not None:
        rest |= {"noise_file": "{here}/n.npz", "files": (("n.npz", write),)}
    return sampling(f"pixelcnnpp_{name}", sentence, "--runner", "PixelCNNPPSamplerRunner", **rest)


def pixel_noise(logistic: tuple[int, ...] = (4, 4, 4, 1), value: float = 0.5) -> Write:
    mixture = np.full((4, 4, 4, 2), 0.5)
    mixture[1, 2, 3, 0] = value
    return npz(mixture_u=mixture, logistic_u=np.full(logistic, 0.5))


PIXELCNNPP = [
    pixelcnnpp(
        "size",
        re.compile(r"model pixelcnnpp: image_shape \[30, 28, 1\]: .*divisible by 4.*\[32, 28, 1\]"),
        model={**PIXELS, "image_shape": [30, 28, 1]},
    ),
    pixelcnnpp(
        "channels",
        "model pixelcnnpp: image_shape [28, 28, 2]: 1 (gray) or 3 (RGB) channels, not 2",
        model={**PIXELS, "image_shape": [28, 28, 2]},
    ),
    pixelcnnpp(
        "axes",
        "model pixelcnnpp: image_shape.2 is missing",
        model={**PIXELS, "image_shape": [28, 28]},
    ),
    pixelcnnpp(
        "of_another_runner",
        "PixelCNNPPSamplerRunner samples from pixelcnnpp, not made",
        model={"name": "made", **SHAPE},
    ),
    pixelcnnpp(
        "of_another_model",
        "{here}/w.safetensors: the config says name: pixelcnnpp, the checkpoint name: made",
        model=None,
        checkpoint="{here}/w.safetensors",
        files=(("w.safetensors", native),),
    ),
    pixelcnnpp(
        "noise_flat",
        "noise_file '{here}/n.npz': logistic_u has shape (4, 16, 1), expected (4, 4, 4, 1) (batch first)",
        pixel_noise(logistic=(4, 16, 1)),
    ),
    pixelcnnpp(
        "noise_outside",
        "noise_file '{here}/n.npz': noise 'mixture_u' must lie between 0 and 1, both excluded; it holds 1.0",
        pixel_noise(value=1.0),
    ),
    pixelcnnpp(
        "block_size",
        "solver gs_jacobi: block_size 6 is not a multiple of the block unit, 4; the nearest that is: 8",
        solvers=[{"name": "gs_jacobi", "block_size": 6}],
    ),
    pixelcnnpp(
        "head_choice",
        "head: component should be 'gumbel' or 'inverse_cdf', not 'inverse'",
        head={"component": "inverse"},
    ),
    pixelcnnpp("head_range", "head: temperature must be a positive finite number, not 0.0", head={"temperature": 0}),
    pixelcnnpp(
        "head_of_the_architecture",
        re.compile("head: unknown option 'num_mixtures'; valid: (component, temperature|temperature, component)"),
        head={"num_mixtures": 3},
    ),
]


KNOWN = "c.yml: known_pixels:"


GIVEN = "known_pixels: the file '{here}/k.npz'"


def known(name: str, sentence: str | re.Pattern[str], write: Write | None = None, **options: Any) -> Any:
    """A row about images to be completed; ``write`` makes a file of them."""
    if write is None:
        return sampling(f"known_{name}", sentence, known_pixels=options)
    options = {"images": "{here}/k.npz", "rows": 1, **options}
    return sampling(f"known_{name}", sentence, known_pixels=options, files=(("k.npz", write),))


DIGITS = {"name": "mnist5k"}


COMPLETING = [
    known("two_sources", f"{KNOWN} one of images (a file) and data is needed, and not both", npz(), data=DIGITS),
    known("no_source", f"{KNOWN} one of images (a file) and data is needed, and not both", rows=1),
    known("two_amounts", f"{KNOWN} one of rows and pixels is needed, and not both", data=DIGITS, rows=1, pixels=2),
    known("no_amount", f"{KNOWN} one of rows and pixels is needed, and not both", data=DIGITS),
    known("nothing", "c.yml: known_pixels.rows should be at least 1, not 0", data=DIGITS, rows=0),
    known("half", "c.yml: known_pixels.pixels should be a whole number, not 1.5", data=DIGITS, pixels=1.5),
    known("rows_many", "known_pixels: rows 7 is more than the images' height, 6", data=DIGITS, rows=7),
    known("pixels_many", "known_pixels: pixels 37 is more than the images have, 36", data=DIGITS, pixels=37),
    known(
        "key_near",
        near(
            "c.yml: unknown config key in known_pixels 'row'; did you mean 'rows'?",
            "rows",
            "images",
            "data",
            "pixels",
        ),
        row=3,
    ),
    known(
        "key_old",
        "c.yml: config key 'known_pixels.dataset' belongs to an older code base; its successor is data (a mapping with "
        "a name)",
        dataset=DIGITS,
        rows=3,
    ),
    sampling("known_number", "c.yml: known_pixels should be a mapping of keys to values, not 3", known_pixels=3),
    known(
        "dataset_shape",
        "known_pixels: the model draws images of shape [6, 6, 1], the dataset mnist5k has [28, 28, 1]",
        data=DIGITS,
        rows=3,
    ),
    known("dataset_far", f"unknown dataset 'zzz'; valid: {', '.join(DATASETS)}", data={"name": "zzz"}, rows=3),
    known("file_missing", f"{GIVEN} does not exist", images="{here}/k.npz", rows=3),
    known("file_text", f"{GIVEN} is damaged, or not an .npz file", holds(b"text")),
    known("file_name", f"{GIVEN} has no array 'images'; it has: pictures", npz(pictures=np.zeros((4, 6, 6, 1)))),
    known(
        "file_floats",
        f"{GIVEN}: samples should be uint8 of shape (batch, height, width, channels), not float64 of shape (4, 36)",
        npz(samples=np.zeros((4, 36))),
    ),
    known(
        "file_shape",
        "known_pixels: the model draws images of shape [6, 6, 1], the file '{here}/k.npz' has [8, 8, 1]",
        npz(images=np.zeros((4, 8, 8, 1), np.uint8)),
    ),
    known(
        "file_few", f"{GIVEN} has 3 images, the config says batch_size: 4", npz(images=np.zeros((3, 6, 6, 1), np.uint8))
    ),
    sampling("head_near", "head: unknown option 'bond'; did you mean 'bound'? valid: bound", head={"bond": 3}),
    sampling("head_far", "head: unknown option 'temperature'; valid: bound", head={"temperature": 1}),
    sampling("head_range", "head: bound must be more than 0, not -1.0", head={"bound": -1}),
    sampling("head_number", "head: bound should be a number, not 'wide'", head={"bound": "wide"}),
    sampling("head_text", "c.yml: head should be a mapping of keys to values, not 'cold'", head="cold"),
]


GUESS = "guess: file '{here}/g.npz'"
GUESSING = [
    sampling(
        "guess_near",
        near("c.yml: guess: unknown guess 'n_grams'; did you mean 'n_gram'?", "n_gram", *set(GUESSES) - {"n_gram"}),
        guess="n_grams",
    ),
    sampling(
        "guess_order", "c.yml: guess: n goes with n_gram, not with noise_free", guess={"name": "noise_free", "n": 2}
    ),
    sampling("guess_n", "c.yml: guess.n should be at least 1, not 0", guess={"name": "n_gram", "n": 0}),
    sampling(
        "guess_both",
        "c.yml: guess: name and file do not go together: n_gram guesses on the way, a file says the first",
        guess={"name": "n_gram", "file": "g.npz"},
    ),
    sampling(
        "guess_ids",
        "guess: n_gram goes with sequences of class ids, whole numbers (T, batch); the state is float32[36, 4]",
        guess="n_gram",
    ),
    sampling("guess_missing", f"{GUESS} does not exist", guess="{here}/g.npz"),
    sampling(
        "guess_batch",
        f"{GUESS}: samples is a batch of 5, the config says batch_size: 4",
        guess="{here}/g.npz",
        files=(("g.npz", npz(samples=np.zeros((5, 36)))),),
    ),
    sampling(
        "guess_shape",
        f"{GUESS}: samples has shape (36, 4), expected (4, 36) (batch first)",
        guess="{here}/g.npz",
        files=(("g.npz", npz(samples=np.zeros((36, 4)))),),
    ),
]
ROWS = FILES + PIXELCNNPP + COMPLETING + GUESSING


@pytest.mark.parametrize("row", ROWS)
def test_mistake_is_one_sentence(row: Row, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    check_mistake(row, tmp_path, capfd)


def test_rows_have_names_of_their_own() -> None:
    names = [row.id for row in ROWS]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("row", [row for row in ROWS if row.id == "noise_nan"])
def test_mistake_is_one_sentence_in_a_process_of_its_own(row: Row, tmp_path: Path) -> None:
    check_in_a_process_of_its_own(row, tmp_path)
