"""A small network that reads digits."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

import neurosim as ns

Batches = list[tuple[Tensor, Tensor]]


@pytest.fixture(scope="session")
def trained() -> tuple[nn.Module, Batches, Batches]:
    """A digital network with norms, in evaluation mode, and data to train and test on."""
    torch.manual_seed(0)
    data = ns.load_dataset("digits")
    train, test = (list(ns.datasets.batches(split, batch_size=256)) for split in (data.train, data.test))
    model = nn.Sequential(
        *(nn.Flatten(), nn.Linear(64, 40), nn.BatchNorm1d(40), nn.ReLU()),
        *(nn.Linear(40, 40), nn.BatchNorm1d(40), nn.ReLU(), nn.Linear(40, 10)),
    )
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    for _ in range(10):
        for images, labels in train:
            optimizer.zero_grad()
            cross_entropy(model(images), labels).backward()  # type: ignore[no-untyped-call]  # torch does not annotate backward
            optimizer.step()
    return model.eval().requires_grad_(False), train, test
