"""Adaptive gradient clipping: gradients limited unit by unit, relative to the weights of each."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import torch
from torch import Tensor, nn

from neurosim.checks import number
from neurosim.convert.affine import TRANSPOSED
from neurosim.convert.select import check_globs, matches
from neurosim.nn.wrappers import named_unwrapped


def clip_adaptively(parameters: Iterable[nn.Parameter], limit: float = 0.01, floor: float = 1e-3) -> None:
    r"""Shorten gradients that are long beside the weights that they are for, in place.

    .. math:: g \leftarrow g\,\lambda \frac{\max(\lVert w \rVert, \varepsilon)}{\lVert g \rVert} \quad \text{if } \lVert g \rVert >
        \lambda \max(\lVert w \rVert, \varepsilon)

    for every unit: all that leads to one output, axis 0 of a weight; what has at most one axis longer than 1, such as a bias or
    the gains of rows, is one unit as a whole.

    Args:
        parameters: Those with gradients are clipped. Outputs of transposed convolutions lie on axis 1: :func:`adaptive_clip` knows them.
        limit: λ, > 0; 0.01 for batches of thousands of samples, more for smaller ones.
        floor: ε, > 0, so that weights that start at 0 can move.

    Raises:
        ConfigError: A number is not above 0.

    Source:
        A. Brock, S. De, S. L. Smith, K. Simonyan, "High-performance large-scale image recognition without normalization", ICML 2021,
        section 4, equation 3; what is one unit as a whole as in the authors' code.

    >>> weight = nn.Parameter(torch.tensor([[3.0, 4.0], [0.0, 1.0]]))
    >>> weight.grad = torch.tensor([[0.0, 2.0], [0.0, 0.01]])
    >>> clip_adaptively([weight], limit=0.1)
    >>> weight.grad
    tensor([[0.0000, 0.5000],
            [0.0000, 0.0100]])
    """
    share, least = number("clip_adaptively.limit", limit, gt=0), number("clip_adaptively.floor", floor, gt=0)
    for parameter in parameters:
        if parameter.grad is not None:
            _clip(parameter.detach(), parameter.grad, share, least)


def adaptive_clip(model: nn.Module, limit: float = 0.01, floor: float = 1e-3, skip: Sequence[str] = ()) -> Callable[[], None]:
    """What clips the gradients of a model by :func:`clip_adaptively` when it is called.

    Args:
        model: Its parameters.
        limit: λ.
        floor: ε.
        skip: Globs over the paths of layers whose gradients stay as they are; the authors leave the last linear layer out.

    Raises:
        ConfigError: A number is not above 0, or a glob names no layer with parameters.
    """
    chosen = unskipped(model, skip, "train.clip.skip")
    layers = dict(named_unwrapped(model))
    groups = [_groups(layers.get(path), value) for path, value in chosen]
    clip_adaptively([], limit, floor)  # refuses numbers before anything is trained

    def clip() -> None:
        for (_, value), count in zip(chosen, groups, strict=True):
            if value.grad is not None:
                _clip(value.detach(), value.grad, limit, floor, count)

    return clip


def unskipped(model: nn.Module, skip: Sequence[str], where: str) -> list[tuple[str, nn.Parameter]]:
    """The parameters of a model with the paths of their layers; what makes a parametrized one is in the layer that it is for.

    Args:
        model: Any module.
        skip: Globs over the paths of layers to leave out.
        where: What names them, for messages.

    Raises:
        ConfigError: A glob names no layer with parameters.
    """
    owned: dict[str, list[nn.Parameter]] = {}
    for path, module in named_unwrapped(model):
        owned.setdefault(path.split(".parametrizations.")[0], []).extend(module.parameters(recurse=False))
    owned = {path: values for path, values in owned.items() if values}
    check_globs(where, skip, owned, "layer with parameters")
    return [(path, value) for path, values in owned.items() if not matches(path, model, list(skip)) for value in values]


def _groups(layer: nn.Module | None, value: Tensor) -> int | None:
    """Groups of the weight of a transposed convolution, whose outputs lie on axis 1 of every group of inputs; None elsewhere."""
    if isinstance(layer, TRANSPOSED) and value.dim() == 2 + len(layer.kernel_size) and value.shape[0] == layer.in_channels:
        return layer.groups
    return None


def _clip(weight: Tensor, gradient: Tensor, share: float, least: float, groups: int | None = None) -> None:
    whole, axes = weight.squeeze().dim() <= 1, 1
    if groups is not None and not whole:
        weight, gradient = (value.view(groups, -1, *value.shape[1:]).transpose(1, 2) for value in (weight, gradient))
        axes = 2
    over = None if whole else tuple(range(axes, weight.dim()))
    held, length = (torch.linalg.vector_norm(value, dim=over, keepdim=not whole) for value in (weight, gradient))
    most = share * held.clamp_min(least)
    gradient.mul_(torch.where(length > most, most / length.clamp_min(torch.finfo(length.dtype).tiny), 1))
