"""The one decorator that compiles: every flag and its reason stand here, and nowhere else.

Compiled code is kept on disk in a directory whose name is a hash of everything that can change
it. Numba's own cache looks only at the file of the outermost function, so an edit to a callee in
another module would leave old machine code in use (numba issue 1833); here any edit to any kernel
module names another directory.

``NUMBA_DISABLE_JIT=1`` runs the kernels as plain Python, ``NUMBA_BOUNDSCHECK=1`` checks every
index; ``NOSKEW_CACHE_DIR`` moves the cache, which otherwise follows ``XDG_CACHE_HOME``.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar, cast, overload

import llvmlite
import numba
import numpy as np
from llvmlite import binding, ir
from numba.core import cgutils
from numba.core import config as _config
from numba.extending import intrinsic

from noskew.kernels.linking import Kernel

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

# Numba sets its settings as attributes at run time, where no type checker sees them.
_CONFIG: Final[Any] = _config

_Function = TypeVar("_Function", bound="Callable[..., Any]")

_KEPT: Final = 16
"""How many cache directories stay: this one, and a few of other versions or checked runs."""


@overload
def kernel(function: _Function) -> _Function: ...
@overload
def kernel(*, inline: bool) -> Callable[[_Function], _Function]: ...
def kernel(function: _Function | None = None, *, inline: bool = False) -> Any:
    """Compile ``function`` when it is first called with a combination of types.

    inline  copy it into its callers: for small parts of what runs for every event, where handing
            on arrays would cost more than the work; each copy is compiled again
    """
    if function is None:
        return partial(kernel, inline=inline)
    if _CONFIG.DISABLE_JIT:
        return function
    compiled = Kernel(
        function,
        {
            "nopython": True,
            # Other threads (the client's, the commit's) run while a kernel works on a batch.
            "nogil": True,
            # Division by zero gives inf or NaN and no exception: kernels never raise half-way.
            "error_model": "numpy",
            # Reordered or contracted floating point would change bits between CPUs and versions.
            "fastmath": False,
            # Threads would make the order of writes, and so of reports, depend on scheduling.
            "parallel": False,
            # Kernels allocate nothing: their callers hand them every array. So no array needs its
            # references counted, which took most of the time of small functions.
            "_nrt": False,
            "forceinline": inline,
        },
    )
    if _DIRECTORY is not None:
        before = _CONFIG.CACHE_DIR
        _CONFIG.CACHE_DIR = str(_DIRECTORY)
        try:
            compiled.enable_caching()
        finally:
            _CONFIG.CACHE_DIR = before
    return cast("_Function", compiled)


if _CONFIG.DISABLE_JIT:

    def prefetch(array: NDArray[Any], row: int) -> None:
        """Do nothing: plain Python has no use for it."""

else:

    @intrinsic
    def prefetch(_context: Any, array: Any, row: Any) -> Any:
        """Ask the processor for the cache line at ``array[row]``; it changes nothing.

        array  of one or two dimensions; a row that is not there is not asked for
        """

        def generate(target: Any, builder: Any, _: Any, values: Any) -> Any:
            made = target.make_array(array)(target, builder, values[0])
            index = target.cast(builder, values[1], row, numba.types.intp)
            stride = builder.extract_value(made.strides, 0)
            start = builder.ptrtoint(made.data, index.type)
            address = builder.add(start, builder.mul(index, stride))
            byte = ir.IntType(8).as_pointer()
            flag = ir.IntType(32)
            kind = ir.FunctionType(ir.VoidType(), [byte, flag, flag, flag])
            find: Any = cgutils.get_or_insert_function  # it has no types
            function = find(builder.module, kind, "llvm.prefetch.p0")
            settings = [ir.Constant(flag, value) for value in (0, 3, 1)]  # read, keep, data
            builder.call(function, [builder.inttoptr(address, byte), *settings])
            return target.get_dummy_value()

        return numba.types.void(array, row), generate


def cache_directory() -> Path | None:
    """Return where compiled kernels are kept, or None where no directory can be written."""
    return _DIRECTORY


def _content_hash() -> str:
    digest = hashlib.sha256()
    for path in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
    features = binding.get_host_cpu_features().flatten()
    for part in (
        numba.__version__,
        llvmlite.__version__,
        np.__version__,
        binding.get_host_cpu_name(),
        features,
        str(_CONFIG.BOUNDSCHECK),
        str(_CONFIG.OPT),
    ):
        digest.update(part.encode() + b"\0")
    return digest.hexdigest()[:32]


def _open_directory() -> Path | None:
    root = os.environ.get("NOSKEW_CACHE_DIR")
    if not root:
        shared = os.environ.get("XDG_CACHE_HOME")
        try:
            root = str((Path(shared) if shared else Path.home() / ".cache") / "noskew")
        except RuntimeError:  # no home directory
            return None
    directory = Path(root) / "kernels" / _content_hash()
    try:
        directory.mkdir(parents=True, exist_ok=True)
        # A read-only directory made by an image build is as good: Numba only reads then.
        if not os.access(directory, os.W_OK) and not any(directory.iterdir()):
            return None
        _prune(directory)
    except OSError:
        return None
    return directory


def _prune(directory: Path) -> None:
    """Remove all but the newest few directories of other contents."""
    with suppress(OSError):
        os.utime(directory)
        others = [path for path in directory.parent.iterdir() if path != directory]
        others.sort(key=lambda path: path.stat().st_mtime, reverse=True)
        for path in others[_KEPT - 1 :]:
            shutil.rmtree(path, ignore_errors=True)


_DIRECTORY: Final = None if _CONFIG.DISABLE_JIT else _open_directory()
