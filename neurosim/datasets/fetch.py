"""Download of the public data sets: whole and right, or not there."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from tqdm import tqdm

from neurosim.atomicfile import replacing
from neurosim.datasets.places import data_folder
from neurosim.errors import ConfigError, DataError, nearest

_CHUNK = 1 << 16
_TIMEOUT_S = 30  #: without an answer, or without a byte


class Fetchable(NamedTuple):
    """A data set that can be downloaded."""

    files: Mapping[str, str]  #: file name → SHA-256
    mirrors: tuple[str, ...]  #: addresses to try in turn, each followed by ``/`` and the file name
    data: str  #: how a config's ``data`` names it once it lies in the data folder
    credit: str  #: who made it


FETCHABLE: dict[str, Fetchable] = {
    "mnist": Fetchable(
        {
            "train-images-idx3-ubyte.gz": "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
            "train-labels-idx1-ubyte.gz": "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
            "t10k-images-idx3-ubyte.gz": "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
            "t10k-labels-idx1-ubyte.gz": "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
        },
        ("https://ossci-datasets.s3.amazonaws.com/mnist", "https://storage.googleapis.com/cvdf-datasets/mnist"),
        "{kind: idx, path: mnist}",
        "MNIST: Y. LeCun, L. Bottou, Y. Bengio, P. Haffner, Proc. IEEE 86 (1998) 2278, doi:10.1109/5.726791",
    ),
    "fashion_mnist": Fetchable(
        {
            "train-images-idx3-ubyte.gz": "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84",
            "train-labels-idx1-ubyte.gz": "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845",
            "t10k-images-idx3-ubyte.gz": "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073",
            "t10k-labels-idx1-ubyte.gz": "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5",
        },
        (
            "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion",
            "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com",
        ),
        "{kind: idx, path: fashion_mnist, classes: fashion_mnist}",
        "Fashion-MNIST: H. Xiao, K. Rasul, R. Vollgraf, arXiv:1708.07747, MIT licence",
    ),
    "cifar10": Fetchable(
        {"cifar-10-binary.tar.gz": "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd"},
        ("https://www.cs.toronto.edu/~kriz", "https://cave.cs.toronto.edu/kriz"),
        "{kind: cifar10}",
        "CIFAR-10: A. Krizhevsky, Learning multiple layers of features from tiny images, technical report, University of Toronto, 2009",
    ),
}


def fetch(name: str, folder: str | Path | None = None, *, base_url: str | None = None) -> Path:
    """Download a data set, unless it is there already.

    Every file is written under another name, checked, and only then given its own: a download that is cut off or damaged leaves nothing
    behind.

    Args:
        name: ``mnist``, ``fashion_mnist`` or ``cifar10``.
        folder: Where to put the files; by default a folder of that name in :func:`neurosim.datasets.data_folder`, where the config finds
            them.
        base_url: Another address to load from, without the file name.

    Returns:
        The folder.

    Raises:
        ConfigError: No data set of that name can be downloaded.
        DataError: A file could not be had, or another file has its name; the message says what to do.
    """
    if name not in FETCHABLE:
        raise ConfigError(f"fetch: no data set to download is named {name!r}{nearest(name, FETCHABLE)}")
    wanted = FETCHABLE[name]
    place = data_folder() / name if folder is None else Path(folder).expanduser()
    mirrors = wanted.mirrors if base_url is None else (base_url.rstrip("/"),)
    try:
        place.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DataError(f"{place}: must be a folder that can be written to: {error}") from None
    for file, checksum in wanted.files.items():
        fetch_file(place / file, [f"{mirror}/{file}" for mirror in mirrors], checksum)
    return place


def fetch_file(target: Path, urls: list[str], checksum: str) -> None:
    """Download one file, unless it is there already.

    Args:
        target: Where it goes; the folder exists.
        urls: Addresses to try in turn.
        checksum: SHA-256 of the file, in hexadecimal.

    Raises:
        DataError: No address gave the right file, or ``target`` is another file.
    """
    if target.is_file():
        if (found := _sha256(target)) != checksum:
            raise DataError(f"{target}: SHA-256 must be {checksum}, is {found}; move or delete this file and fetch again")
        return
    failures = []
    for url in urls:
        try:
            _download(url, target, checksum)
            return
        except (OSError, DataError) as error:  # every error of the HTTP client is an OSError
            failures.append(f"  {url}: {error}")
    advice = f"Try again later, or get the file in another way and put it here: {target} (SHA-256 {checksum})"
    raise DataError("\n".join([f"{target.name}: could not be downloaded", *failures, advice]))


def _download(url: str, target: Path, checksum: str) -> None:
    from pooch import HTTPDownloader

    with (
        replacing(target) as temporary,
        tqdm(total=1, desc=target.name, unit="B", unit_scale=True, disable=not sys.stderr.isatty()) as bar,
    ):
        # "identity": the bytes as they lie on the server; a compressed transfer would be unpacked on the way and have another checksum
        download = HTTPDownloader(
            progressbar=False if bar.disable else bar, chunk_size=_CHUNK, timeout=_TIMEOUT_S, headers={"Accept-Encoding": "identity"}
        )
        download(url, str(temporary), None)
        if (found := _sha256(temporary)) != checksum:
            raise DataError(f"the file is damaged or another one: SHA-256 must be {checksum}, is {found}")


def _sha256(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
