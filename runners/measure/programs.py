"""Compiled programs kept between runs, by JAX's own cache."""

from __future__ import annotations

import os
import tempfile
import warnings

from common.errors import UserError
from models.weights.downloads import user_cache

FOLDER = "xla"  # in the folder that downloads go to


def silence_xla() -> None:
    """Keep XLA's own messages off standard error, unless the user asked for some. Goes before JAX is imported.

    Of a program that comes from the cache it says, on some processors, that it might not run there: it lists settings
    of the compiler among the processor's features and misses them. A program for another processor is never taken, as
    the features are part of its name in the cache, and what fails is raised as an error too.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")


def keep_programs() -> None:
    """Keep programs that took over a second to compile, JAX's own limit, and use those of earlier runs.

    A run does not need the cache: where nothing can be written there is none, nor without a home: what others may put
    into a folder of temporary files is not run. A folder that JAX was given stays.
    """
    import jax

    is_wanted = jax.config.jax_enable_compilation_cache  # type: ignore[attr-defined]
    if not is_wanted or jax.config.jax_compilation_cache_dir is not None:  # type: ignore[attr-defined]
        return
    try:
        place = user_cache()
        if place is None:
            return
        folder = place / FOLDER
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
    except (OSError, UserError):  # the latter where there is no such user as in ~name
        return
    jax.config.update("jax_compilation_cache_dir", str(folder))
    # A disk that is full by now, an entry that a killed run left half written: it is compiled as if there were none.
    warnings.filterwarnings("ignore", "Error (reading|writing) persistent compilation cache entry")
