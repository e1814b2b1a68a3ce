"""Fixup: residual branches that start at 0, and learn at a speed that does not depend on how many there are."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, Final

import torch
from pydantic import Field
from torch import nn
from torch.nn.utils import parametrize

from neurosim.activations.facts import identify
from neurosim.checks import whole
from neurosim.errors import ConfigError, with_article
from neurosim.norms.branches import Branch
from neurosim.norms.registry import register
from neurosim.norms.scalar import Scalar

_CONVS: Final = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
_LAYERS: Final = (nn.Linear, *_CONVS)


@register(
    "fixup",
    "B34",
    kind="wrapper",
    usage="scheme: fixup of the models residual_mlp and residual_cnn, or ns.norms.FixupBranch(branch, blocks) around every branch",
    formula="y = x + s f(x), with L^(−1/(2m−2)) on the weights of f, 0 on its last, and an offset before every layer and activation",
    fold="F0",
    example=lambda: FixupBranch(nn.Sequential(nn.Linear(16, 8), nn.ReLU(), nn.Linear(8, 16)), 10),
)
class FixupBranch(Branch):
    r"""A residual branch with Fixup initialization; the weights of the branch are changed in place.

    .. math:: y = x + s\,W_m\,\phi(\dots \phi(W_1 (x + b_1) + b_2) \dots + b_{2m - 1}), \qquad
        W_i \leftarrow L^{-\frac{1}{2m - 2}}\,W_i\ (i < m), \quad W_m \leftarrow 0

    s, a learned factor, starts at 1, and the learned numbers b, one before every layer with weights and every activation, at 0. The layers
    of the branch need no biases of their own, and those that they have are set to 0. The rule for the network as a whole is that the
    weights of its last layer start at 0 as well, and all others as usual for its activation.

    All numbers fold into weights, but for the offset before a convolution that pads with zeros: at the border it is not the same as a bias,
    so it stays.

    Args:
        branch: A sequence of layers, of which m ≥ 2 have weights: plain ones, of which each stands once; sequences in it become part of it.
            Parametrizations come afterwards.
        blocks: L, the number of residual branches of the network.
        shortcut: In the place of x, a module; None: x itself.

    Shapes:
        x ``(batch, *)``; result the same, or as the shortcut has it.

    Raises:
        ConfigError: An argument is not as above, or the branch has another shape than the shortcut.

    Source:
        H. Zhang, Y. N. Dauphin, T. Ma, "Fixup initialization: residual learning without normalization", ICLR 2019, section 3.

    >>> branch = nn.Sequential(nn.Linear(2, 2), nn.ReLU(), nn.Linear(2, 2))
    >>> FixupBranch(branch, blocks=10)(torch.ones(1, 2)).detach()
    tensor([[1., 1.]])
    """

    def __init__(self, branch: nn.Module, blocks: Annotated[int, Field(ge=1)] = 1, *, shortcut: nn.Module | None = None) -> None:
        where = "FixupBranch"
        if not isinstance(branch, nn.Sequential):
            raise ConfigError(f"{where}.branch: must be a torch.nn.Sequential, got {type(branch).__name__}")
        inside = list(_flat(branch))
        layers: list[Any] = [part for part in inside if isinstance(part, _LAYERS)]
        for part in inside:
            if not isinstance(part, _LAYERS) and identify(part) is None and any(value.dim() > 1 for value in part.parameters()):
                wanted = "must hold weights in linear layers and convolutions alone, and those in sequences alone"
                raise ConfigError(f"{where}.branch: {wanted}, got {with_article(type(part).__name__)}")
        if len(layers) < 2:
            raise ConfigError(f"{where}.branch: must have two layers with weights or more, got {len(layers)}")
        if len({id(layer) for layer in layers}) < len(layers):
            raise ConfigError(f"{where}.branch: every layer with weights must stand in it once, got one that stands there several times")
        if computed := [type(layer).__name__ for layer in layers if parametrize.is_parametrized(layer, "weight")]:
            raise ConfigError(f"{where}.branch: weights must be parameters, got a parametrized one, {computed[0]}; parametrize afterwards")
        factor = whole(f"{where}.blocks", blocks, 1) ** (-1 / (2 * len(layers) - 2))
        with torch.no_grad():
            for layer in layers:
                layer.weight.mul_(0 if layer is layers[-1] else factor)
                if layer.bias is not None:
                    layer.bias.zero_()
        parts: list[nn.Module] = []
        for part in inside:
            parts += [Scalar(shift=0.0), part] if isinstance(part, _LAYERS) or identify(part) is not None else [part]
        super().__init__(nn.Sequential(*parts), shortcut, after=[Scalar(1.0)])


def _flat(branch: nn.Sequential) -> Iterator[nn.Module]:
    """What runs one after the other."""
    for part in branch:
        if type(part) is nn.Sequential:
            yield from _flat(part)
        else:
            yield part
