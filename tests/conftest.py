"""What holds for every test."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest
import torch

hypothesis.settings.register_profile("untimed", deadline=None)  # a busy machine is no failure
hypothesis.settings.load_profile("untimed")


def pytest_configure() -> None:
    """A shell makes the programs it starts in the background deaf to SIGINT, and they pass that on: here Ctrl-C works all the same."""
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True, scope="session")
def no_data_of_the_users_own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Whatever the user has downloaded, the suite sees an empty data folder, and puts nothing into the real one."""
    folder = tmp_path_factory.mktemp("data")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NEUROSIM_DATA", str(folder))
        yield folder


@pytest.fixture(autouse=True)
def plugins_end_with_their_test() -> Iterator[None]:
    """A plugin that one test has loaded is not carried to the worker processes of another."""
    yield
    for name in [name for name in sys.modules if name.startswith("neurosim_plugin_")]:
        del sys.modules[name]


@pytest.fixture(params=["off", "require"])
def implementation(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """The test runs on the reference, and once more on the kernels, which must be there."""
    monkeypatch.setenv("NEUROSIM_NATIVE", request.param)
    return str(request.param)


@pytest.fixture
def poisoned() -> Iterator[None]:
    """Memory that nobody has written is NaN, so that an element left out shows."""
    before = torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(True)
    yield
    torch.use_deterministic_algorithms(before)
