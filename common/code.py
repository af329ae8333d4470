"""Classes and functions from a user's own file, and his part of the traceback where one of them fails.

To load from a file is to run it. Only a config, or the one who calls, names such files: no data file does.
"""

from __future__ import annotations

import os
import sys
import traceback
from pathlib import Path
from types import ModuleType
from typing import Any

from common.errors import UserError
from common.names import unknown
from common.paths import user_path

_PREFIX = "user:"  # of the names that such modules have in sys.modules, with the file's path behind it


class CodeError(UserError):
    """A file of a user's own that is not there, or does not hold what it should."""


class UserCodeError(Exception):
    """A user's own file raised an exception when it was read, which is the cause of this one."""


def load_object(path: Any, name: Any) -> Any:
    """The class or function called ``name`` in a Python file, which is run once in a process.

    Its folder is searched, after all others, for the modules that it imports.

    Raises:
        CodeError: there is no such file or name; the message says the nearest one.
        UserCodeError: the file itself raises an exception.
    """
    if not isinstance(path, str | Path) or not isinstance(name, str):
        raise CodeError(f"path and name should be text, not {path!r} and {name!r}")
    file = user_path(path).resolve()
    if not file.is_file():
        beside = sorted(other.name for other in file.parent.glob("*.py"))
        raise CodeError(f"{file.parent}: {unknown('file', file.name, beside)}")
    module = sys.modules.get(_PREFIX + str(file)) or _run(file)
    if name not in vars(module):
        own = [key for key, value in vars(module).items() if getattr(value, "__module__", None) == module.__name__]
        raise CodeError(f"{file.name}: {unknown('name', name, [key for key in own if not key.startswith('_')])}")
    return vars(module)[name]


def file_of(kind: Any) -> str | None:
    """The user's own file that a class or function is from; None where it is from an installed module."""
    module = str(kind.__module__)
    return module.removeprefix(_PREFIX) if module.startswith(_PREFIX) else None


def own_traceback(error: BaseException) -> str | None:
    """The traceback of an exception, limited to files beside those that were loaded; None where none has a part in it.

    Of an exception when a file was read it is the cause that is shown.
    """
    if isinstance(error, UserCodeError) and error.__cause__ is not None:
        error = error.__cause__
    folders = {os.path.dirname(name.removeprefix(_PREFIX)) for name in sys.modules if name.startswith(_PREFIX)}
    program = os.path.realpath(getattr(sys.modules["__main__"], "__file__", None) or "")
    files = [os.path.realpath(frame.filename) for frame in traceback.extract_tb(error.__traceback__)]
    frames = [
        frame
        for file, frame in zip(files, traceback.extract_tb(error.__traceback__), strict=True)
        if os.path.dirname(file) in folders and file != program
    ]
    if not frames and not (isinstance(error, SyntaxError) and os.path.dirname(error.filename or "") in folders):
        return None
    return "".join([*traceback.format_list(frames), *traceback.format_exception_only(error)]).rstrip()


def _run(file: Path) -> ModuleType:
    """The module that a file makes; it is known by the file's path, so that it hides no other."""
    module = ModuleType(_PREFIX + str(file))
    module.__file__ = str(file)
    sys.modules[module.__name__] = module
    if str(file.parent) not in sys.path:
        sys.path.append(str(file.parent))
    try:
        exec(compile(file.read_bytes(), str(file), "exec"), vars(module))
    except Exception as error:
        raise UserCodeError(f"{file} cannot be read: {type(error).__name__}") from error
    return module
