"""A small network, trained on the shipped digits in a second, to see what a device makes of it."""

from __future__ import annotations

import copy
from functools import cache
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from neurosim.datasets import digits
from neurosim.random import stream


class Trained(NamedTuple):
    """A network and what it is tested on."""

    model: nn.Sequential
    images: Tensor  #: ``(360, 64)``, 0 … 1
    labels: Tensor


@cache
def _trained() -> Trained:
    data = digits()
    (x, labels), (images, expected) = ((part.images.flatten(1).float() / 255, part.labels) for part in (data.train, data.test))
    model = nn.Sequential(nn.Linear(64, 48), nn.ReLU(), nn.Linear(48, 10))
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            uniform = stream(17, name).uniform(parameter.shape, like=parameter)
            parameter.copy_((2 * uniform - 1) * 64**-0.5)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
    for _ in range(80):
        optimizer.zero_grad()
        F.cross_entropy(model(x), labels).backward()
        optimizer.step()
    return Trained(model.eval().requires_grad_(False), images, expected)


def trained() -> Trained:
    """The network, one's own copy, with the images and labels of the test set."""
    network = _trained()
    return network._replace(model=copy.deepcopy(network.model))


def accuracy(model: nn.Module, images: Tensor, labels: Tensor) -> float:
    """The share that is right."""
    with torch.no_grad():
        return float((model(images).argmax(1) == labels).float().mean())
