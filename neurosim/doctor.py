"""What is installed here, which devices there are, and what does not fit together."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import re
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final, Literal, NamedTuple

State = Literal["ok", "note", "fault"]

_CORE: Final = (
    "torch",
    "numpy",
    "scipy",
    "h5py",
    "pydantic",
    "ruamel.yaml",
    "jinja2",
    "matplotlib",
    "safetensors",
    "pooch",
    "pillow",
    "tqdm",
)
_EXTRAS: Final = {
    "tensorboard": "log.tensorboard: true",
    "nir": "exchange of spiking networks",
    "norse": "exchange of spiking networks",
    "dask": "studies on a cluster",
}


class Check(NamedTuple):
    """One line of the examination."""

    state: State  #: ``ok``; ``note``: works, with a limit; ``fault``: something will fail
    name: str
    text: str


def examine() -> list[Check]:
    """All checks. Nothing is changed, and torchvision, which may not be importable, is not imported."""
    return [
        *_versions(),
        _torchvision(),
        _devices(),
        _threads(),
        *_kernels(),
        _compiler(),
        *_writable(),
        _profiles(),
        _data(),
        *_optional(),
    ]


def _versions() -> Iterator[Check]:
    from neurosim import __version__

    where = Path(__file__).resolve().parent
    yield Check("ok", "neurosim", f"{__version__} in {where}")
    good = sys.version_info >= (3, 11)
    yield Check(
        "ok" if good else "fault",
        "python",
        f"{platform.python_version()} on {platform.platform()}{'' if good else '; must be 3.11 or newer'}",
    )
    found = {name: _version(name) for name in _CORE}
    missing = [name for name, version in found.items() if version is None]
    text = ", ".join(f"{name} {version}" for name, version in found.items() if version)
    yield Check("fault" if missing else "ok", "packages", text + (f"; missing: {', '.join(missing)}" if missing else ""))


def _torchvision() -> Check:
    torch, vision = _version("torch"), _version("torchvision")
    if vision is None:
        return Check("ok", "torchvision", "not installed; not needed")
    problem = torchvision_problem(torch or "", vision)
    if problem is None:
        return Check("ok", "torchvision", f"{vision} matches torch {torch}")
    return Check("note", "torchvision", f"{problem}; neurosim does not use it, programs that import it will fail")


def torchvision_problem(torch: str, torchvision: str) -> str | None:
    """Why this torchvision cannot be imported beside this torch, or ``None``.

    Source:
        The table of releases in torchvision's README: torch 2.m goes with torchvision 0.(m + 15), built for the same device.

    >>> torchvision_problem("2.13.0", "0.28.0") is None
    True
    >>> torchvision_problem("2.13.0", "0.27.0")
    'torchvision 0.27.0 is not the one for torch 2.13.0, which is 0.28'
    >>> torchvision_problem("2.13.0+cpu", "0.28.0")
    'torchvision 0.28.0 and torch 2.13.0+cpu are built for different devices'
    """
    release, ours = (re.match(r"(\d+)\.(\d+)", version) for version in (torch, torchvision))
    if release is None or ours is None:
        return f"torchvision {torchvision} and torch {torch or '(none)'} cannot be compared"
    wanted = (0, int(release[2]) + 15)
    if release[1] == "2" and (int(ours[1]), int(ours[2])) != wanted:
        return f"torchvision {torchvision} is not the one for torch {torch}, which is 0.{wanted[1]}"
    if torch.partition("+")[2] != torchvision.partition("+")[2]:
        return f"torchvision {torchvision} and torch {torch} are built for different devices"
    return None


def _devices() -> Check:
    import torch

    if torch.version.cuda is None:
        return Check("ok", "devices", "CPU; this torch has no CUDA")
    if not torch.cuda.is_available():
        return Check("note", "devices", f"CPU; this torch is built for CUDA {torch.version.cuda}, but no GPU is visible")
    names = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
    return Check("ok", "devices", f"CPU and {', '.join(names)} (CUDA {torch.version.cuda})")


def _threads() -> Check:
    import torch

    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    used = torch.get_num_threads()
    text = f"torch uses {used} on {cores} cores"
    return (
        Check("ok", "threads", text)
        if used <= cores
        else Check("note", "threads", f"{text}: too many slow it down; set OMP_NUM_THREADS={cores}")
    )


def _kernels() -> Iterator[Check]:
    """Which implementation each op uses, and why."""
    from neurosim.errors import NeurosimError
    from neurosim.ops import cuba_lif, cuda, li, lif, native, quantize  # noqa: F401  # each declares its ops
    from neurosim.ops.library import OPS

    names = ", ".join(name for name in OPS if not name.endswith("_backward"))
    try:
        off = native.mode() == "off"
    except NeurosimError as error:
        yield Check("fault", "kernels", str(error))
        return
    library, gpu = native.library(), cuda.status()
    if off:
        yield Check("note", "CPU ops", f"reference in torch, because {native.VARIABLE}=off: {names}")
    elif library.handle is None:
        state: State = "fault" if native.mode() == "require" else "note"
        yield Check(state, "CPU ops", f"reference in torch, because there is no library of kernels: {library.reason}: {names}")
    else:
        threads = "the threads of torch" if library.threads else "one thread, because no OpenMP runtime of torch was found"
        yield Check("ok", "CPU ops", f"kernels for {library.instruction_set} on {threads}: {names}")
    if gpu.usable and not off:
        yield Check("ok", "CUDA ops", f"kernels, {gpu.reason}: {names}")
    else:
        yield Check("ok", "CUDA ops", f"reference in torch, because {f'{native.VARIABLE}=off' if off else gpu.reason}")


def _compiler() -> Check:
    named = os.environ.get("CXX")
    found = next((path for name in ([named] if named else ["g++", "clang++", "cl"]) if (path := shutil.which(name))), None)
    if found:
        return Check("ok", "compiler", f"{found}: torch.compile works with its default backend")
    return Check("note", "compiler", "no C++ compiler: torch.compile needs backend='aot_eager', and an installation has no CPU kernels")


def _writable() -> Iterator[Check]:
    places = {"working folder": Path.cwd(), "temporary files": Path(tempfile.gettempdir())}
    for name, folder in places.items():
        try:
            with tempfile.TemporaryFile(dir=folder) as file:
                file.write(b"neurosim")
        except OSError as error:
            yield Check("fault", name, f"{folder} cannot be written to: {error.strerror}")
        else:
            yield Check("ok", name, f"{folder} can be written to")


def _profiles() -> Check:
    from neurosim.errors import NeurosimError
    from neurosim.hardware.profile import list_profiles, load_profile

    try:
        names = [load_profile(name).name for name in list_profiles()]
    except (NeurosimError, OSError) as error:
        return Check("fault", "profiles", str(error).partition("\n")[0])
    return Check("ok" if names else "fault", "profiles", f"{len(names)}: {', '.join(names)}")


def _data() -> Check:
    from neurosim.datasets import FETCHABLE, data_folder

    there = [name for name in FETCHABLE if (data_folder() / name).is_dir()]
    return Check("ok", "data folder", f"{data_folder()} holds {', '.join(there) or 'no downloaded data set'}")


def _optional() -> Iterator[Check]:
    for name, use in _EXTRAS.items():
        version = _version(name)
        yield Check("ok", name, f"{version}, for {use}" if version else f"not installed; only for {use}")


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None
