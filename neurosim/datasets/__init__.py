"""Data sets by name: what a config's ``data.kind`` may say.

An entry is a function with annotated keyword arguments that returns a :class:`Dataset`, in memory. A user's file adds one with
``@neurosim.DATASETS.register("my_data")`` and is named on the command line: ``--plugin my_data.py``.
"""

from neurosim.datasets.augment import Augment as Augment
from neurosim.datasets.augment import AugmentName as AugmentName
from neurosim.datasets.augment import Outliers as Outliers
from neurosim.datasets.augment import augmentation as augmentation
from neurosim.datasets.augment import multiply_some as multiply_some
from neurosim.datasets.base import DATASETS as DATASETS
from neurosim.datasets.base import Dataset as Dataset
from neurosim.datasets.base import Split as Split
from neurosim.datasets.base import load_dataset as load_dataset
from neurosim.datasets.batching import batches as batches
from neurosim.datasets.cifar10 import cifar10 as cifar10
from neurosim.datasets.digits import digits as digits
from neurosim.datasets.events import bin_events as bin_events
from neurosim.datasets.fetch import FETCHABLE as FETCHABLE
from neurosim.datasets.fetch import Fetchable as Fetchable
from neurosim.datasets.fetch import fetch as fetch
from neurosim.datasets.hdf5_images import hdf5_images as hdf5_images
from neurosim.datasets.idx import idx as idx
from neurosim.datasets.moving_digits import moving_digits as moving_digits
from neurosim.datasets.places import data_folder as data_folder
from neurosim.datasets.places import find_data as find_data
from neurosim.datasets.shd import shd as shd
from neurosim.datasets.shd import ssc as ssc
from neurosim.datasets.validation import split_validation as split_validation
