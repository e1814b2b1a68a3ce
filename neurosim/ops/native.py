"""The library of CPU kernels: where it is, whether it is used, and how its entry points are called.

An entry point is a C function of one pointer: a block of 8-byte fields, laid out as its ``layout`` says, so that a call costs one packing
and one ``ctypes`` call whatever the number of arguments. The environment variable ``NEUROSIM_NATIVE`` decides at every call:

=========== ==========================================================================
``auto``    (default) kernels where there are any, else the reference in torch
``off``     the reference
``require`` kernels, and an error where there are none
=========== ==========================================================================
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import struct
from collections.abc import Callable
from functools import cache
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from neurosim.errors import ConfigError, RunError, nearest

if TYPE_CHECKING:
    from torch import Tensor

VARIABLE = "NEUROSIM_NATIVE"
MODES = ("auto", "off", "require")
INSTRUCTION_SETS = ("baseline", "avx2", "avx512")
_NO_MEMORY = 1  #: what a kernel returns then
_LARGE = 8 << 20  #: bytes from which memory usually comes from the system anew
_PACKAGE = Path(__file__).parent.parent


class Library(NamedTuple):
    """The loaded library, or why there is none."""

    handle: ctypes.CDLL | None
    path: Path | None
    instruction_set: str
    threads: bool  #: whether it found the OpenMP pool that torch uses
    reason: str  #: one clause for people


def mode() -> str:
    """``NEUROSIM_NATIVE`` as it is now.

    Raises:
        ConfigError: It has another value than the three.
    """
    value = os.environ.get(VARIABLE) or "auto"
    if value not in MODES:
        raise ConfigError(f"{VARIABLE}: must be one of {', '.join(MODES)}, got {value!r}{nearest(value, MODES)}")
    return value


@cache
def library() -> Library:
    """The kernels that were built with the package."""
    import torch  # noqa: F401  # its OpenMP runtime has to be there before ours is looked for

    found = [path for suffix in EXTENSION_SUFFIXES if (path := _PACKAGE / f"_native{suffix}").exists()]
    if not found:
        return Library(None, None, "", False, "it was not built: the installation found no C++ compiler")
    try:
        handle = ctypes.CDLL(str(found[0]))
    except OSError as error:
        return Library(None, found[0], "", False, f"it could not be loaded: {error}")
    if not hasattr(handle, "neurosim_sources") or _number(handle.neurosim_sources) != sources():
        return Library(None, found[0], "", False, f"{found[0]} was built from other sources: install the package again")
    best = INSTRUCTION_SETS[handle.neurosim_instruction_set()]
    return Library(handle, found[0], best, bool(handle.neurosim_threads_found()), f"built for {best}")


def sources() -> int:
    """A number that stands for the sources the library has to be built from; ``setup.py`` builds it in."""
    digest = hashlib.blake2b(digest_size=7)
    for path in sorted((_PACKAGE / "csrc").iterdir()):
        if path.suffix in (".h", ".cpp"):
            digest.update(path.name.encode() + path.read_bytes())
    return int.from_bytes(digest.digest(), "big")


def _number(function: Any) -> int:
    function.restype = ctypes.c_int64
    return int(function())


def wanted() -> bool:
    """Whether kernels are to be used now.

    Raises:
        RunError: They are required and not there.
    """
    chosen = mode()
    if chosen == "off":
        return False
    if library().handle is not None:
        return True
    if chosen == "require":
        raise RunError(f"{VARIABLE}=require: the library of CPU kernels is needed, but {library().reason}")
    return False


def implementation() -> str:
    """``kernels`` or ``reference``: what ops on the CPU run on now. They agree bit for bit but for normal random numbers, to 1e-6."""
    return "kernels" if wanted() else "reference"


def entry(name: str, layout: str) -> Callable[..., None]:
    """An entry point as a Python function of its fields.

    Args:
        name: Name without the instruction set, as in ``NS_ENTRY(name)``.
        layout: One letter per field, all 8 bytes: ``P`` pointer (0 for none), ``q`` integer, ``Q`` unsigned integer, ``d`` double.

    Returns:
        A function that raises ``RunError`` if the kernel has no memory or refuses its arguments.
    """
    pack = packer(layout)

    def call(*fields: float) -> None:
        code = _function(name)(pack(*fields))
        if code == _NO_MEMORY:
            raise RunError(f"kernel {name}: there is no memory left for its scratch")
        if code:
            raise RunError(f"kernel {name}: it refused its arguments (code {code}); this is an error of neurosim's own, please report it")

    return call


def large_pages(memory: Tensor) -> Tensor:
    """The tensor, its memory marked for large pages if it is large: writing it for the first time is then several times quicker.

    A hint to the system that changes no value; nothing happens on other devices.
    """
    if memory.nbytes >= _LARGE and memory.is_cpu and (handle := library().handle) is not None:
        handle.neurosim_large_pages(ctypes.c_uint64(memory.data_ptr()), ctypes.c_uint64(memory.nbytes))
    return memory


def packer(layout: str) -> Callable[..., bytes]:
    """A function that makes one block of its arguments, for a layout as in :func:`entry`."""
    return struct.Struct("=" + layout.replace("P", "Q")).pack


@cache
def _function(name: str) -> Callable[[bytes], int]:
    found = library()
    if found.handle is None:
        raise RunError(f"kernel {name}: there is no library of CPU kernels: {found.reason}")
    try:
        function = getattr(found.handle, f"{name}_{found.instruction_set}")
    except AttributeError:
        raise RunError(f"kernel {name}: {found.path} was built from other sources and lacks it: install the package again") from None
    function.argtypes, function.restype = (ctypes.c_char_p,), ctypes.c_int32
    return function  # type: ignore[no-any-return]  # ctypes does not type the functions of a library
