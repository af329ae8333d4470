import os

os.environ.setdefault("JAX_PLATFORMS", "cpu")
# Most of these tests' time is compiling; the end-to-end tests run in processes of their own, with what users get.
os.environ.setdefault("XLA_FLAGS", "--xla_cpu_use_fusion_emitters=false --xla_backend_optimization_level=0")

from jaxtyping import install_import_hook

# Shapes in annotations are checked while tests run, and only then.
install_import_hook(["solvers", "models", "common"], "beartype.beartype")

import gc
import signal
from itertools import count
from pathlib import Path

import jax
import pytest
from hypothesis import HealthCheck, settings

MAPPINGS = 45_000
FINISHED = count()
# Compiling makes millions of objects that stay: to look through all of them for cycles, again and again, is a tenth of
# the tests' time.
gc.set_threshold(200_000, 50, 100)

settings.register_profile("trisolve", deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
settings.load_profile("trisolve")


def pytest_addoption(parser):
    parser.addoption("--slow", action="store_true", help="also run the tests that train for real")
    parser.addoption("--write-goldens", action="store_true", help="take what runs leave behind now as right")


def pytest_collection_modifyitems(config, items):
    if config.getoption("--slow"):
        return
    # Beside what is marked: cases that take long, each of a test whose other cases run (or with a faster cousin).
    listed = set(Path(__file__).with_name("slow.txt").read_text(encoding="utf-8").splitlines())
    for item in items:
        if "slow" in item.keywords or item.nodeid in listed:
            item.add_marker(pytest.mark.skip(reason="takes long; run with --slow"))


@pytest.fixture(scope="session", autouse=True)
def interruptible():
    """Tests press Ctrl-C; a shell that runs them in the background has it ignored, by their child processes too."""
    previous = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, previous)


@pytest.fixture(autouse=True)
def room_for_programs():
    """Drop compiled programs before they are too many: each takes some of the 65,530 mappings that Linux allows."""
    yield
    if next(FINISHED) % 20:  # to count them takes a while
        return
    try:
        mappings = Path("/proc/self/maps").read_bytes().count(b"\n")
    except OSError:  # another system
        return
    if mappings > MAPPINGS:
        jax.clear_caches()
        gc.collect()


@pytest.fixture(scope="session", autouse=True)
def cache_of_their_own(tmp_path_factory, request):
    """What runs keep between them, compiled programs too, goes to a folder of the tests, not to the user's."""
    folder = tmp_path_factory.getbasetemp()
    if hasattr(request.config, "workerinput"):  # the workers' folders lie side by side
        folder = folder.parent
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TRISOLVE_CACHE", str(folder / "cache"))
        jax.config.update("jax_compilation_cache_dir", str(folder / "cache" / "xla"))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.1)
        yield


@pytest.fixture
def x64():
    with jax.enable_x64(True):
        yield
