"""A definition's file to its one ``Pipeline``; every mistake in it is a message with its line."""

from __future__ import annotations

import hashlib
import importlib.util
import sys
import traceback
from contextlib import redirect_stdout
from importlib.abc import SourceLoader
from pathlib import Path
from typing import TYPE_CHECKING

from noskew.dataflows.definition.stream import Pipeline
from noskew.dataflows.errors import DefinitionError, NoskewError

if TYPE_CHECKING:
    from types import ModuleType


def load(path: Path | str) -> Pipeline:
    """Run the definition's file and return the pipeline it makes.

    Raises DefinitionError: no such file, an error in it (with the line), no or several pipelines.
    """
    path = Path(path)
    # What a definition prints must not get into a command's JSON.
    with redirect_stdout(sys.stderr):
        found = list(_named_pipelines(_execute(path)).items())
    if len(found) == 1:
        return found[0][0]
    if not found:
        message = (
            f"{path}: makes no Pipeline; write pipeline = Pipeline(name=..., score=..., "
            "features=[...]) at the top level"
        )
        raise DefinitionError(message)
    names = ", ".join(name for _, name in found)
    message = f"{path}: makes {len(found)} pipelines ({names}); write one per file"
    raise DefinitionError(message)


def _named_pipelines(module: ModuleType) -> dict[Pipeline, str]:
    """Return the pipelines and the first name of each."""
    found: dict[Pipeline, str] = {}
    for name, value in vars(module).items():
        if isinstance(value, Pipeline):
            found.setdefault(value, name)
    return found


class _Source(SourceLoader):
    """Reads the file each time: a cached compilation could be older than the last edit."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def get_filename(self, fullname: str) -> str:  # noqa: ARG002 -- importlib's signature
        return str(self._path)

    def get_data(self, path: str | bytes) -> bytes:  # noqa: ARG002 -- importlib's signature
        return self._path.read_bytes()


def _execute(path: Path) -> ModuleType:
    if not path.is_file():
        what = "a folder" if path.is_dir() else "not there"
        message = f"definition {path} is {what}; give the .py file that makes the Pipeline"
        raise DefinitionError(message)
    name = f"noskew_definition_{hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:16]}"
    spec = importlib.util.spec_from_loader(name, _Source(path.resolve()), origin=str(path))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    module.__file__ = str(path.resolve())
    sys.modules[name] = module  # dataclasses and pickle look a module up while it runs
    try:
        spec.loader.exec_module(module)
    except NoskewError as error:
        message = f"{_place(path, error)}: {error}"
        raise DefinitionError(message) from None
    except SyntaxError as error:
        place = f"{error.filename or path}:{error.lineno}"
        text = (error.text or "").strip()
        message = f"{place}: this is not Python: {error.msg}" + (f": {text}" if text else "")
        raise DefinitionError(message) from None
    except (Exception, SystemExit) as error:  # noqa: BLE001 -- a definition may raise anything
        message = f"{_place(path, error)}: {type(error).__name__}: {error}"
        raise DefinitionError(message) from None
    finally:
        del sys.modules[name]
    return module


def _place(path: Path, error: BaseException) -> str:
    """Return path and line of the definition's innermost statement that ran into the error."""
    lines = [
        frame.lineno
        for frame in traceback.extract_tb(error.__traceback__)
        if Path(frame.filename) == path.resolve()
    ]
    return f"{path}:{lines[-1]}" if lines else str(path)
