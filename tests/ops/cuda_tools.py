"""What tests of the CUDA kernels share."""

from __future__ import annotations

import pytest


def _nvrtc_is_there() -> bool:
    try:
        from cuda.bindings import nvrtc
        from cuda.core import Program  # noqa: F401  # whether it can be imported is the question

        nvrtc.nvrtcVersion()
    except (ImportError, RuntimeError):
        return False
    return True


needs_nvrtc = pytest.mark.skipif(not _nvrtc_is_there(), reason="needs cuda-core and NVRTC, which are not made for this platform")
