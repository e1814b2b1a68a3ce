"""Digital networks that spiking ones are made of in the tests."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Residual(nn.Module):
    """A stem and two blocks, one with an identity and one with a projection beside it, one ReLU module for all of a block."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, 6, 3, padding=1)
        self.norm = nn.BatchNorm2d(6)
        self.relu = nn.ReLU(inplace=True)
        self.a, self.b = nn.Conv2d(6, 6, 3, padding=1, groups=2), nn.Conv2d(6, 6, 3, padding=1)
        self.c, self.d, self.skip = nn.Conv2d(6, 8, 3, 2, 1), nn.Conv2d(8, 8, 3, padding=1), nn.Conv2d(6, 8, 1, 2)
        self.head = nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.relu(self.norm(self.stem(x)))
        x = self.relu(self.b(self.relu(self.a(x))) + x)
        y = self.d(F.relu(self.c(x)))
        y += self.skip(x)
        logits: Tensor = self.head(torch.relu(y).mean((2, 3)))
        return logits


class Functional(nn.Module):
    """Everything that may be written as a function is."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.fc, self.out = nn.Conv2d(1, 4, 3), nn.Linear(36, 8), nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = F.avg_pool2d(F.relu(self.conv(x)), 2)
        x = F.dropout(x.view(x.size(0), -1), 0.5, self.training)
        logits: Tensor = self.out(self.fc(x).relu())
        return logits


def _mlp() -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, 12), nn.ReLU(), nn.Linear(12, 3))


def _cnn() -> nn.Module:
    return nn.Sequential(
        *(nn.Conv2d(1, 4, 3, padding=1, bias=False), nn.BatchNorm2d(4), nn.ReLU(), nn.AvgPool2d(2)),
        *(nn.Conv2d(4, 8, 3, groups=4), nn.ReLU6(), nn.Flatten(), nn.Dropout(), nn.Linear(32, 10), nn.ReLU(), nn.Linear(10, 3)),
    )


#: by what is special about it
NETWORKS: dict[str, Callable[[], nn.Module]] = {"mlp": _mlp, "cnn": _cnn, "residual": Residual, "functional": Functional}


def trained(kind: str) -> nn.Module:
    """A network whose weights, biases and statistics are all away from where they start; the same at every call."""
    torch.manual_seed(1)
    model = NETWORKS[kind]()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            module.running_mean = torch.randn(module.num_features) * 0.2
            module.running_var = torch.rand(module.num_features) + 0.5
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.uniform_(module.bias, -0.3, 0.5)
    return model.eval()


def images(count: int = 96) -> Tensor:
    """Inputs of all of them, 0 … 1."""
    return torch.rand(count, 1, 8, 8, generator=torch.Generator().manual_seed(3))
