"""The data set that is always there."""

from __future__ import annotations

from neurosim.assets import asset
from neurosim.datasets.base import DATASETS, Dataset
from neurosim.datasets.hdf5_images import read_hdf5_images


@DATASETS.register("digits")
def digits() -> Dataset:
    """1,797 handwritten digits of 8 × 8 pixels: 1,437 to train on and 360 to test on, each class in the same proportion.

    A pixel counts the ink in a block of 4 × 4 of the original bitmap, 0 … 16; as everywhere, uint8 images mean 0 … 255, so 16 becomes 255
    and the others are rounded (8 becomes 128). The split is fixed and lies in the file; which of the 13 writers wrote what is not known, so
    train and test share writers, and accuracies are higher than on digits by strangers.

    Source:
        E. Alpaydin, C. Kaynak, "Optical recognition of handwritten digits", UCI Machine Learning Repository, 1998, doi:10.24432/C50P49
        (the test part, ``optdigits.tes``), CC BY 4.0.

    >>> data = digits()
    >>> data.train.images.shape, data.test.images.shape
    (torch.Size([1437, 1, 8, 8]), torch.Size([360, 1, 8, 8]))
    """
    return read_hdf5_images(asset("datasets/digits/digits.h5"), name="digits")
