"""Models that conversion is tested on: the shapes that users have, not the ones that are convenient."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Shared(nn.Module):
    """One layer used under two names, and twice in one forward."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(6, 6)
        self.again = self.first
        self.head = nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(torch.relu(self.again(torch.relu(self.first(x)))))  # type: ignore[no-any-return]  # nn.Module.__call__ is untyped


class Tied(nn.Module):
    """Two layers with one weight."""

    def __init__(self) -> None:
        super().__init__()
        self.encode = nn.Linear(6, 6, bias=False)
        self.decode = nn.Linear(6, 6, bias=False)
        self.decode.weight = self.encode.weight

    def forward(self, x: Tensor) -> Tensor:
        return self.decode(torch.relu(self.encode(x)))  # type: ignore[no-any-return]  # nn.Module.__call__ is untyped


class BasicBlock(nn.Module):
    """The residual block of torchvision's ResNet-18."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.relu = nn.ReLU(inplace=True)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.downsample: nn.Module | None = None
        if stride != 1 or inputs != outputs:
            self.downsample = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))

    def forward(self, x: Tensor) -> Tensor:
        identity = x if self.downsample is None else self.downsample(x)
        out = self.relu(self.bn1(self.conv1(x)))
        return self.relu(self.bn2(self.conv2(out)) + identity)  # type: ignore[no-any-return]  # nn.Module.__call__ is untyped


class ResNet(nn.Module):
    """A ResNet with torchvision's names and structure, small enough for a test."""

    def __init__(self, width: int = 4) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, width, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, 2, 1)
        self.layer1 = nn.Sequential(BasicBlock(width, width, 1), BasicBlock(width, width, 1))
        self.layer2 = nn.Sequential(BasicBlock(width, 2 * width, 2), BasicBlock(2 * width, 2 * width, 1))
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(2 * width, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        x = self.layer2(self.layer1(x))
        return self.fc(torch.flatten(self.avgpool(x), 1))  # type: ignore[no-any-return]  # nn.Module.__call__ is untyped


class Block(nn.Module):
    """The block of a vision transformer."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attn = nn.MultiheadAttention(width, heads, batch_first=True)
        self.mlp = nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width))

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm1(x)
        x = x + self.attn(y, y, y, need_weights=False)[0]
        return x + self.mlp(self.norm2(x))  # type: ignore[no-any-return]  # nn.Module.__call__ is untyped


class VisionTransformer(nn.Module):
    """A vision transformer with timm's names and structure, small enough for a test."""

    def __init__(self, width: int = 8, patch: int = 4, depth: int = 2) -> None:
        super().__init__()
        self.patch_embed = nn.Conv2d(1, width, patch, patch)
        self.cls_token = nn.Parameter(torch.randn(1, 1, width))
        self.pos_embed = nn.Parameter(torch.randn(1, 5, width))
        self.blocks = nn.Sequential(*(Block(width, 2) for _ in range(depth)))
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, 5)

    def forward(self, x: Tensor) -> Tensor:
        patches = self.patch_embed(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.cls_token.expand(len(x), -1, -1), patches], 1) + self.pos_embed
        return self.head(self.norm(self.blocks(x))[:, 0])  # type: ignore[no-any-return]  # nn.Module.__call__ is untyped


class Steps(nn.Module):
    """A cell of every kind, one after the other."""

    def __init__(self) -> None:
        super().__init__()
        self.plain, self.gated, self.long, self.layer = nn.RNNCell(6, 6), nn.GRUCell(6, 6), nn.LSTMCell(6, 6), nn.LSTM(6, 6)

    def forward(self, x: Tensor) -> Tensor:
        plain: Tensor | None = None
        gated: Tensor | None = None
        long: tuple[Tensor, Tensor] | None = None
        outputs = []
        for now in x.unbind(0):
            plain = self.plain(now, plain)
            gated = self.gated(plain, gated)
            long = self.long(gated, long)
            outputs.append(long[0])
        return self.layer(torch.stack(outputs))[0]  # type: ignore[no-any-return]  # nn.Module.__call__ is untyped


class PlainSubclass(nn.Linear):
    """A user's layer with a method of its own and torch's product."""

    def norm(self) -> Tensor:
        norm: Tensor = self.weight.norm()
        return norm


class OwnForward(nn.Linear):
    """A user's layer with a product of its own."""

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.weight - self.weight.mean(), self.bias)


class OwnConv(nn.Conv2d):
    """A user's convolution that changes the weight on its way."""

    def _conv_forward(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        out: Tensor = super()._conv_forward(x, weight / weight.norm(), bias)
        return out


class RawParameter(nn.Module):
    """A module that multiplies by a parameter of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(6))
        self.fc = nn.Linear(6, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(x * self.scale)  # type: ignore[no-any-return]  # nn.Module.__call__ is untyped
