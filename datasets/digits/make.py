"""Makes digits.h5 from the copy of the data that scikit-learn ships: ``python datasets/digits/make.py [digits.h5]``."""

from __future__ import annotations

import sys
from pathlib import Path

import h5py
import numpy as np
import torch
from sklearn.datasets import load_digits

from neurosim.atomicfile import replacing
from neurosim.datasets import Split, split_validation

TEST_SAMPLES = 360
ATTRIBUTES = {
    "classes": [str(digit) for digit in range(10)],
    "source": (
        "Optical recognition of handwritten digits (optdigits.tes): E. Alpaydin, C. Kaynak, UCI Machine Learning Repository, 1998, "
        "doi:10.24432/C50P49, CC BY 4.0"
    ),
    "licence": "CC BY 4.0, https://creativecommons.org/licenses/by/4.0/",
    "changes": "The values are unchanged; the samples were divided into train and test, each class in the same proportion.",
}


def make(path: Path) -> None:
    """Write the file."""
    bunch = load_digits()
    samples = Split(torch.from_numpy(bunch.images.astype(np.uint8)), torch.from_numpy(bunch.target.astype(np.int64)))
    train, test = split_validation(samples, TEST_SAMPLES / len(samples.labels), seed=0)
    with replacing(path) as temporary, h5py.File(temporary, "w") as file:
        file.attrs.update(ATTRIBUTES)
        for name, split in (("train", train), ("test", test)):
            images = file.create_dataset(f"{name}/images", data=split.images.numpy(), compression="gzip", compression_opts=9, shuffle=True)
            images.attrs.update({"layout": "NHW", "max_value": 16})
            file.create_dataset(f"{name}/labels", data=split.labels.numpy().astype(np.uint8))


if __name__ == "__main__":
    make(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).with_name("digits.h5"))
