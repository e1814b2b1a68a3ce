"""Where data lies."""

from __future__ import annotations

import os
from pathlib import Path

from neurosim.errors import DataError

VARIABLE = "NEUROSIM_DATA"


def data_folder() -> Path:
    """The folder for downloaded data: the environment variable ``NEUROSIM_DATA``, or else ``neurosim`` in the user's cache folder."""
    if given := os.environ.get(VARIABLE):
        return Path(given).expanduser()
    import pooch

    return Path(pooch.os_cache("neurosim"))


def find_data(path: str | Path, what: str) -> Path:
    """An existing file or folder.

    A path that begins with ``~`` is in the home folder. A relative one is looked for in the working folder, then in :func:`data_folder`,
    where ``neurosim data fetch mnist`` puts ``mnist``.

    Args:
        path: As the user wrote it.
        what: What should be there, for the message.

    Raises:
        DataError: It is in neither place.
    """
    given = Path(path).expanduser()
    if given.exists():
        return given
    if given.is_absolute():
        raise DataError(f"{path}: must be {what}, does not exist")
    below = data_folder() / given
    if below.exists():
        return below
    raise DataError(f"{path}: must be {what}, there is none in the working folder {Path.cwd()} and none in the data folder {data_folder()}")
