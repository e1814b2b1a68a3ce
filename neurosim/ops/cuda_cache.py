"""CUDA kernels as machine code for one GPU architecture: made by NVRTC from the sources in the package, kept in a folder on the disk.

What is compiled is one text, the ``.cu`` file with our headers put in place, so a name that is the hash of that text (with architecture,
definitions, options and the compiler's version) says exactly what is in a file. Files are written in one step and carry their own
checksum: an entry that is damaged, or belongs to another name, is compiled anew. The folder may be deleted at any time.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import sys
from pathlib import Path
from typing import Final, NamedTuple

from neurosim.atomicfile import write_bytes
from neurosim.errors import RunError

VARIABLE: Final = "NEUROSIM_CACHE"
SOURCES: Final = Path(__file__).parent.parent / "csrc"
STANDARD: Final = "c++17"
_INCLUDE: Final = re.compile(r'^[ \t]*#[ \t]*include[ \t]+"([\w.]+)"[^\n]*$', re.MULTILINE)
_ONCE: Final = re.compile(r"^[ \t]*#[ \t]*pragma[ \t]+once[^\n]*$", re.MULTILINE)
_MAGIC: Final = b"neurosim cubin 1\n"
_DIGEST: Final = hashlib.sha256().digest_size


class Kernel(NamedTuple):
    """One entry point, with all that is fixed when it is compiled."""

    file: str  #: name of the ``.cu`` file
    entry: str  #: name of the function, which is ``extern "C"``
    definitions: tuple[tuple[str, str], ...] = ()  #: macros, name and value


def machine_code(kernel: Kernel, architecture: str) -> bytes:
    """The kernel for that architecture, from the disk if it is there, else compiled and put there.

    Args:
        kernel: What to compile.
        architecture: As NVRTC names it, such as ``sm_90``.

    Raises:
        RunError: It does not compile; the message has the compiler's.
        ImportError: There is no ``cuda-core``, or no NVRTC.
    """
    text = source_text(kernel.file)
    key = _key(text, kernel.definitions, architecture)
    folder = cache_folder()
    if folder is None:
        return compiled(text, kernel, architecture)
    path = folder / f"{key}.cubin"
    found = _read(path, key)
    if found is None:
        found = compiled(text, kernel, architecture)
        _write(path, key, found)
    return found


def compiled(text: str, kernel: Kernel, architecture: str) -> bytes:
    """Compile without looking at the disk; no GPU and no driver are needed. Arguments and errors as for :func:`machine_code`."""
    from cuda.core import Program, ProgramOptions

    options = ProgramOptions(name=kernel.file, arch=architecture, std=STANDARD, fma=False, define_macro=list(kernel.definitions) or None)
    try:
        code = Program(text, "c++", options).compile("cubin").code
    except Exception as error:  # the package's own errors have no public common name
        log = str(error).replace("\0", "").strip()
        raise RunError(f"CUDA kernel {kernel.entry}: it must compile for {architecture}, got from NVRTC: {log}") from error
    return bytes(code)


def source_text(name: str, folder: Path = SOURCES) -> str:
    """The file with every ``#include "…"`` of ours replaced by what it names, each at its first place only.

    Args:
        name: File name in ``folder``.
        folder: Where the sources are.
    """
    seen = {name}

    def whole(name: str) -> str:
        text = _ONCE.sub("", (folder / name).read_text(encoding="utf-8"))
        parts, at = [f'#line 1 "{name}"\n'], 0
        for include in _INCLUDE.finditer(text):
            parts.append(text[at : include.start()])
            at = include.end()
            if include[1] not in seen:
                seen.add(include[1])
                parts += [whole(include[1]), f'\n#line {text.count(chr(10), 0, at) + 2} "{name}"']
        return "".join([*parts, text[at:]])

    return whole(name)


def cache_folder() -> Path | None:
    """Where compiled kernels are: ``cuda`` in the folder that ``NEUROSIM_CACHE`` names, or in ``neurosim`` in the user's cache folder.

    ``None`` for a user without a home: every process compiles for itself, since a folder that others can write to is not to be trusted.
    """
    try:
        return _folder()
    except RuntimeError:  # what pathlib raises where there is no home
        return None


def _folder() -> Path:
    if given := os.environ.get(VARIABLE):
        return Path(given).expanduser() / "cuda"
    if sys.platform == "win32":
        base = os.environ.get("LOCALAPPDATA") or "~/AppData/Local"
    elif sys.platform == "darwin":
        base = "~/Library/Caches"
    else:
        base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(base).expanduser() / "neurosim" / "cuda"


def _key(text: str, definitions: tuple[tuple[str, str], ...], architecture: str) -> str:
    from cuda.bindings import nvrtc

    parts = [text, architecture, STANDARD, "fmad=false", repr(definitions), repr(nvrtc.nvrtcVersion())]
    return hashlib.sha256(b"".join(len(part).to_bytes(8, "little") + part for part in (part.encode() for part in parts))).hexdigest()


def _read(path: Path, key: str) -> bytes | None:
    """The code of an entry, or ``None`` where there is no good one."""
    try:
        data = path.read_bytes()
    except OSError:
        return None
    start = len(_MAGIC) + _DIGEST
    digest, code = data[len(_MAGIC) : start], data[start:]
    return code if data.startswith(_MAGIC) and digest == _checksum(key, code) else None


def _write(path: Path, key: str, code: bytes) -> None:
    """Keep an entry; where the folder cannot be written to, every process compiles for itself."""
    with contextlib.suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        write_bytes(path, _MAGIC + _checksum(key, code) + code)


def _checksum(key: str, code: bytes) -> bytes:
    return hashlib.sha256(key.encode() + code).digest()
