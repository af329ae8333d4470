"""Objects by name, imported on use."""

from __future__ import annotations

import importlib
from typing import Any


def resolve(path: str) -> Any:
    """The object that "module:name" stands for."""
    module, name = path.split(":")
    return getattr(importlib.import_module(module), name)
