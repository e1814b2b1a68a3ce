"""Builds the optional library of CPU kernels; everything else is in pyproject.toml.

One set of sources is compiled once per instruction set and linked into one library without Python or torch headers; which set is used is
decided when it is loaded. Without a compiler the installation succeeds all the same, and the reference in torch does the work.
"""

import hashlib
import os
import subprocess
import sysconfig
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

SOURCES = Path("neurosim/csrc")
ONCE = ["pages.cpp", "parallel.cpp"]  #: compiled once
PER_SET = ["cpu_neurons.cpp", "cpu_quantize.cpp", "cpu_random.cpp", "cpu_storage.cpp"]  #: for every instruction set; slow ones first

UNIX = [
    "-std=c++17",
    "-O3",
    "-g0",
    "-ffp-contract=off",
    "-fno-math-errno",
    "-fno-trapping-math",
    "-fno-exceptions",
    "-fno-rtti",
    "-fvisibility=hidden",
]
#: of GCC alone: unswitched, loops over neurons that differ are no longer turned into vectors, and take longer to compile
GNU = ["-fno-unswitch-loops"]
#: of GCC alone: what simple loops need of -O3, in two thirds of the time to compile; the neurons run as fast
GNU_LIGHT = [
    "-O1",
    "-fstrict-aliasing",
    "-ftree-vectorize",
    "-fvect-cost-model=dynamic",
    "-fpeel-loops",
    "-ftree-vrp",
    "-ftree-pre",
    "-fschedule-insns2",
]
UNIX_SETS: dict[str, list[str]] = {
    "baseline": [],
    "avx2": ["-mavx2", "-mf16c"],
    "avx512": ["-mavx512f", "-mavx512bw", "-mavx512dq", "-mavx512vl", "-mf16c", "-mprefer-vector-width=512"],
}
MSVC = ["/std:c++17", "/O2", "/fp:precise", "/GR-", "/EHs-c-"]
MSVC_SETS: dict[str, list[str]] = {"baseline": [], "avx2": ["/arch:AVX2"], "avx512": ["/arch:AVX512"]}


def source_number() -> int:
    """Of all sources; the package computes the same and takes no library that was built from others."""
    digest = hashlib.blake2b(digest_size=7)
    for path in sorted(SOURCES.iterdir()):
        if path.suffix in (".h", ".cpp"):
            digest.update(path.name.encode() + path.read_bytes())
    return int.from_bytes(digest.digest(), "big")


class BuildKernels(build_ext):
    """Compiles the kernels for every instruction set, in parallel."""

    def _is_gnu(self) -> bool:
        """Whether the compiler is GCC by its own macros; clang, which fails at some of GCC's options, has those of GCC too."""
        command = [*self.compiler.compiler_cxx, "-dM", "-E", "-x", "c++", os.devnull]
        try:
            macros = subprocess.run(command, capture_output=True, text=True, check=False).stdout
        except OSError:  # there is none, as the compilation will say
            return False
        return "#define __GNUC__ " in macros and "#define __clang__ " not in macros

    def build_extension(self, ext: Extension) -> None:
        """Compile and link one library."""
        msvc = self.compiler.compiler_type == "msvc"
        common, sets = (MSVC, MSVC_SETS) if msvc else (UNIX, UNIX_SETS)
        variants = sets if sysconfig.get_platform().endswith(("x86_64", "amd64")) else {"baseline": []}
        gnu = not msvc and self._is_gnu()
        built = [("NEUROSIM_SETS", str(len(variants))), ("NEUROSIM_SOURCES", str(source_number()))]

        def quick(source: str, variant: str) -> bool:
            """Whether a part needs no more; the baseline of x86 is for processors from before 2013."""
            return source == "cpu_neurons.cpp" or (variant == "baseline" and len(variants) > 1)

        jobs = [
            ([source], name, flags + (GNU_LIGHT if quick(source, name) else GNU) * gnu)
            for source in PER_SET
            for name, flags in variants.items()
        ]

        def compile_one(job: tuple[list[str], str, list[str]]) -> list[str]:
            names, variant, flags = job
            return self.compiler.compile(
                [str(SOURCES / name) for name in names],
                output_dir=str(Path(self.build_temp) / variant),
                macros=[("NEUROSIM_SET", variant), *(built if variant == "once" else [])],
                extra_postargs=common + flags,
            )

        with ThreadPoolExecutor(os.cpu_count()) as pool:
            objects = [name for found in pool.map(compile_one, [*jobs, (ONCE, "once", [])]) for name in found]
        libraries = [] if msvc else ["m"]
        self.compiler.link_shared_object(objects, self.get_ext_fullpath(ext.name), libraries=libraries, target_lang="c++")


setup(
    ext_modules=[Extension("neurosim._native", [f"neurosim/csrc/{name}" for name in ONCE + PER_SET], optional=True)],
    cmdclass={"build_ext": BuildKernels},
)
