"""How kernels are compiled: each callee to intermediate code only, machine code once a way in.

Numba makes machine code of every function it meets, each with a copy of all it calls, so that what
lies deep in a chain of calls is optimised once for every caller above it. Here a kernel that other
kernels call (a *part*) stops at LLVM's intermediate code; a kernel that Python calls (an *entry*)
links all parts below it into one module, which is optimised, made machine code and kept on disk.

It is built with Numba's own means: a dispatcher, two pipelines (numba.readthedocs.io, "Customizing
the Compiler") and two code libraries.
"""

from __future__ import annotations

import gc
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, ClassVar, Final, Self

from numba.core import types
from numba.core.codegen import JITCodeLibrary
from numba.core.compiler import CompilerBase, DefaultPassBuilder, Flags
from numba.core.compiler_machinery import LoweringPass, register_pass
from numba.core.lowering import Lower
from numba.core.registry import CPUDispatcher
from numba.core.typed_passes import NativeLowering

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

PART: Final = {"no_cpython_wrapper": True, "no_cfunc_wrapper": True}
"""Options of a part: nobody but another kernel calls it."""


class Kernel(CPUDispatcher):
    """A function that compiled code calls as a part, and Python as an entry of its own."""

    def __init__(self, function: Callable[..., Any], options: dict[str, Any]) -> None:
        """Compile nothing yet."""
        super().__init__(function, targetoptions=options | PART, pipeline_class=_PartCompiler)
        self.entry = CPUDispatcher(function, targetoptions=options, pipeline_class=_EntryCompiler)

    def get_call_template(self, args: Any, kws: Any) -> Any:
        """Compile a part once for all integers: Numba would for each constant that it is given."""
        return super().get_call_template(tuple(_widened(one) for one in args), kws)

    def add_overload(self, result: Any) -> None:
        """Keep a compiled part for its callers, and from Python: it has no way in."""
        self.overloads[tuple(result.signature.args)] = result

    def enable_caching(self) -> None:
        """Keep entries on disk: they hold their parts."""
        self.entry.enable_caching()

    def _compile_for_args(self, *args: Any, **named: Any) -> Any:
        """Compile an entry for a call from Python; later calls of its types go straight to it."""
        with _uncollected():
            compiled = self.entry._compile_for_args(*args, **named)  # noqa: SLF001  # as Numba would
        for result in self.entry.overloads.values():
            if result.entry_point is compiled:
                codes = [one._code for one in result.signature.args]  # noqa: SLF001  # as Numba would
                self._insert(codes, compiled, objectmode=False)
        return compiled


@contextmanager
def _uncollected() -> Iterator[None]:
    """Look for no garbage meanwhile: a compiler keeps nearly all it makes."""
    collecting = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collecting:
            gc.enable()


def _widened(kind: Any) -> Any:
    plain = types.unliteral(kind)
    return types.int64 if isinstance(plain, types.Integer) and plain.signed else plain


class _PartLibrary(JITCodeLibrary):
    """The intermediate code of a part: linked by entries, never made machine code itself."""

    def finalize(self) -> None:
        """Close it; its callees are linked where it is."""
        self._finalized = True

    @property
    def callees(self) -> list[Any]:
        """The libraries that it calls."""
        return self._linking_libraries


class _EntryLibrary(JITCodeLibrary):
    """The code of an entry and of all parts below it."""

    def finalize(self) -> None:
        """Link whatever is called, callers first: LLVM leaves out what nothing links to yet."""
        finished: dict[Any, None] = {}
        for library in self._linking_libraries:
            _finish(library, finished)
        self._linking_libraries = list(reversed(finished))
        super().finalize()


def _finish(library: Any, finished: dict[Any, None]) -> None:
    """Add a library to those that are finished, after all that it calls."""
    if library not in finished:
        for callee in library.callees if isinstance(library, _PartLibrary) else ():
            _finish(callee, finished)
        finished[library] = None


class _Lower(Lower):
    """Intermediate code in which no index counts from an array's end: that costs at each access.

    With ``NUMBA_BOUNDSCHECK=1`` a negative index is an error.
    """

    def lower_getitem(self, resty: Any, expr: Any, value: Any, index: Any, signature: Any) -> Any:
        """Read ``value[index]``."""
        return super().lower_getitem(resty, expr, value, index, _from_start(signature))

    def lower_setitem(self, target_var: Any, index_var: Any, value_var: Any, signature: Any) -> Any:
        """Write ``target_var[index_var]``."""
        return super().lower_setitem(target_var, index_var, value_var, _from_start(signature))


def _from_start(signature: Any) -> Any:
    """Return the signature of an access with its indexes unsigned."""
    array, index, *rest = signature.args
    if not isinstance(array, types.Array):
        return signature
    if isinstance(index, types.BaseTuple):
        index = types.Tuple([_unsigned(one) for one in index])
    return signature.replace(args=(array, _unsigned(index), *rest))


def _unsigned(index: Any) -> Any:
    return types.uintp if types.unliteral(index) == types.intp else index


@register_pass(mutates_CFG=True, analysis_only=False)
class _Lowering(NativeLowering):
    """Numba's, with ours."""

    _name = "kernel_lowering"

    @property
    def lowering_class(self) -> type[Lower]:
        """Return what writes intermediate code."""
        return _Lower


@register_pass(mutates_CFG=True, analysis_only=False)
class _Register(LoweringPass):
    """Make a lowered part known to those who call it, under a name of its own."""

    _name = "register_part"

    def __init__(self) -> None:
        LoweringPass.__init__(self)

    def run_pass(self, state: Any) -> bool:
        """Do what ``NativeLowering`` does once it has machine code."""
        name = _Name()
        state.targetctx.insert_user_function(name, state.cr.fndesc, [state.library])
        state.cr = state.cr._replace(cfunc=name)
        return True


class _Name:
    """Stands where Numba keeps the function that Python would call."""


class _Settled(Flags):
    """Flags that stay: Numba compares them, by all their values, for every call it types."""

    __slots__ = ("_hash",)

    _ALL: ClassVar[dict[str, Self]] = {}

    @classmethod
    def of(cls, flags: Flags) -> Self:
        """Return the one object with the values of ``flags``."""
        return cls._ALL.setdefault(flags.summary(), cls(flags))

    def __init__(self, flags: Flags) -> None:
        """Take the values over; none may change from here on."""
        super().__init__(flags)
        self._hash = super().__hash__()

    def copy(self) -> Self:
        """Return the same: nobody changes it."""
        return self

    def __hash__(self) -> int:
        """Return what was computed once."""
        return self._hash

    def __eq__(self, other: object) -> bool:
        """Compare values where the other may be any flags."""
        return self is other or (not isinstance(other, _Settled) and super().__eq__(other))


class _PartCompiler(CompilerBase):
    """Everything up to intermediate code."""

    def __init__(self, *given: Any) -> None:
        """Take what Numba's own compiler takes."""
        super().__init__(*given)
        self.state.flags.no_compile = True
        self.state.flags = _Settled.of(self.state.flags)

    def define_pipelines(self) -> list[Any]:
        """Return Numba's passes, then ours."""
        self.state.library = _library(_PartLibrary, self.state)
        passes = _passes(self.state)
        passes.add_pass_after(_Register, _Lowering)
        passes.finalize()
        return [passes]


class _EntryCompiler(CompilerBase):
    """All of it, with a library that links parts."""

    def __init__(self, *given: Any) -> None:
        """Take what Numba's own compiler takes."""
        super().__init__(*given)
        self.state.flags = _Settled.of(self.state.flags)

    def define_pipelines(self) -> list[Any]:
        """Return Numba's passes."""
        self.state.library = _library(_EntryLibrary, self.state)
        self.state.library.enable_object_caching()
        passes = _passes(self.state)
        passes.finalize()
        return [passes]


def _passes(state: Any) -> Any:
    """Return Numba's passes with our lowering."""
    passes = DefaultPassBuilder.define_nopython_pipeline(state)
    ours = [(_Lowering if one is NativeLowering else one, what) for one, what in passes.passes]
    passes.passes[:] = ours
    return passes


def _library(kind: type[JITCodeLibrary], state: Any) -> Any:
    return kind(state.targetctx.codegen(), state.func_id.func_qualname)
