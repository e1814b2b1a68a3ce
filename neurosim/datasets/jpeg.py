"""Many small JPEG files at once."""

from __future__ import annotations

import io
import os
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from neurosim.errors import DataError

_MODES = {"L": 1, "RGB": 3}  #: what Pillow calls grayscale and colour → channels
_CHUNK = 256
_MAX_THREADS = 8
_THREADS_FROM = 128 * 128  #: pixels; smaller images take Python longer than the decoder, and threads would only wait for each other
_BAR_AFTER_S = 2.0


def decode_jpegs(data: NDArray[np.uint8], offsets: NDArray[np.int64], where: str) -> NDArray[np.uint8]:
    """Images of one size, decoded on several threads where that is faster; on a terminal a progress bar appears after two seconds.

    Args:
        data: The files, one after the other.
        offsets: Where each begins and the last one ends, increasing; one more than there are files.
        where: What to call the data in messages.

    Shapes:
        data ``(bytes,)``; offsets ``(N + 1,)``; result ``(N, C, H, W)``.

    Raises:
        DataError: A file is no JPEG, is cut off, or is not of the size and the channels of the first.
    """
    count = len(offsets) - 1
    first = _decode(data[offsets[0] : offsets[1]], f"{where}: image 0", None)
    images = np.empty((count, *first.shape), np.uint8)

    def decode(start: int) -> int:
        stop = min(start + _CHUNK, count)
        for at in range(start, stop):
            images[at] = _decode(data[offsets[at] : offsets[at + 1]], f"{where}: image {at}", first.shape)
        return stop - start

    threads = min(os.cpu_count() or 1, _MAX_THREADS) if first[0].size >= _THREADS_FROM else 1
    pool = ThreadPoolExecutor(threads, thread_name_prefix="jpeg")
    try:
        with tqdm(total=count, desc=f"decode {where}", unit="image", delay=_BAR_AFTER_S, disable=None) as bar:
            for done in pool.map(decode, range(0, count, _CHUNK)):
                bar.update(done)
    finally:
        pool.shutdown(cancel_futures=True)
    return images


def _decode(data: NDArray[np.uint8], where: str, shape: tuple[int, ...] | None) -> NDArray[np.uint8]:
    from PIL import Image

    try:
        with Image.open(io.BytesIO(data.tobytes()), formats=("JPEG",)) as image:
            channels = _MODES.get(image.mode)
            if channels is None:
                raise DataError(f"{where}: must be grayscale or RGB, is {image.mode}")
            found = (channels, image.height, image.width)
            if shape is not None and found != shape:
                raise DataError(f"{where}: channels, height and width must be {shape} as those of the first, are {found}")
            pixels = np.asarray(image)
    except (OSError, Image.DecompressionBombError) as error:
        raise DataError(f"{where}: must be a whole JPEG file: {error}") from None
    return pixels[None] if channels == 1 else pixels.transpose(2, 0, 1)
