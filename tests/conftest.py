"""What holds for every test."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture(autouse=True, scope="session")
def no_data_of_the_users_own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Whatever the user has downloaded, the suite sees an empty data folder, and puts nothing into the real one."""
    folder = tmp_path_factory.mktemp("data")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NEUROSIM_DATA", str(folder))
        yield folder
