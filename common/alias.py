"""One package under two names: a module is imported once, whichever name it is asked for by."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any


class _SameModule(Loader):
    """Gives the module of another name in the place of a new one."""

    def __init__(self, name: str) -> None:
        self.name = name

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        module = importlib.import_module(self.name)
        self.spec = module.__spec__
        return module

    def exec_module(self, module: ModuleType) -> None:
        module.__spec__ = self.spec  # which the import system has just replaced by that of the other name


class Alias(MetaPathFinder):
    """Finds ``name`` and all below it where ``target`` lies."""

    def __init__(self, name: str, target: str) -> None:
        self.name = name
        self.target = target

    def find_spec(self, fullname: str, path: Any = None, target: ModuleType | None = None) -> ModuleSpec | None:
        """The spec of a module under the other name; None of any other module."""
        if fullname != self.name and not fullname.startswith(f"{self.name}."):
            return None
        real = self.target + fullname.removeprefix(self.name)
        if importlib.util.find_spec(real) is None:
            return None
        return ModuleSpec(fullname, _SameModule(real))


def alias(name: str, target: str) -> None:
    """Let the package ``target`` and its modules be imported as ``name`` too, before any package of that name.

    A class then is the same one by both names, which ``isinstance`` and comparisons need.
    """
    if not any(isinstance(finder, Alias) and finder.name == name for finder in sys.meta_path):
        sys.meta_path.insert(0, Alias(name, target))
