"""Weights that keep their length, or their spread, while they are trained: a fixed budget of conductance."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Final

import torch
from torch import Tensor, nn
from torch.nn.utils.spectral_norm import SpectralNorm
from torch.nn.utils.weight_norm import WeightNorm
from torch.utils.hooks import RemovableHandle

from neurosim.checks import number, whole
from neurosim.convert.given import check_model
from neurosim.errors import ConfigError
from neurosim.norms.placing import check_weight, put_weight
from neurosim.training.clipping import unskipped
from neurosim.training.owned import Weight, weights_of

_HELD: Final = "held_length"  #: in the state of the optimiser, so that checkpoints have it
_STEPS: Final = "steps_before_rescaling"  #: likewise, in its first group


def rescaled(weight: Tensor, *, norm: float | Tensor | None = None, std: float | Tensor | None = None) -> Tensor:
    r"""A weight of another length, or of another spread, in the same direction.

    .. math:: \frac{r}{\lVert W \rVert_F}\,W, \qquad \frac{\sigma^\ast}{\sigma(W)}\,W

    Args:
        weight: W, any shape; where it is 0, or its spread is, it stays.
        norm: r ≥ 0, the length; or
        std: σ*, the standard deviation. Exactly one of both is given.

    Raises:
        ConfigError: Not exactly one is given.

    Source:
        C. Lyle et al., "Normalization and effective learning rates in reinforcement learning", NeurIPS 2024, for the length; L. Owen et
        al., "Variance control via weight rescaling in LLM pre-training", arXiv 2503.17500 (2025), for the spread.

    >>> rescaled(torch.tensor([[3.0, 4.0]]), norm=1.0)
    tensor([[0.6000, 0.8000]])
    """
    wanted = norm if norm is not None else std
    if wanted is None or (norm is not None and std is not None):
        raise ConfigError("rescaled: give one of norm and std")
    now = _length(weight) if std is None else weight.std(correction=0)
    return weight * torch.where(now > 0, wanted / now.clamp_min(torch.finfo(now.dtype).tiny), 1.0)


def keep_norms(model: nn.Module, optimizer: torch.optim.Optimizer, *, every: int = 1, skip: Sequence[str] = ()) -> RemovableHandle:
    """After steps of an optimiser, give every weight the length back that it has now: Normalize-and-Project.

    Behind a norm only the direction of weights counts, and steps make them longer, which makes later steps smaller beside them. At a fixed
    length the learning rate means the same all the time; on hardware, the sum of squares of a layer's conductances stays what it was.

    Weights are what layers multiply their inputs with, as :func:`neurosim.training.owned.weights_of` has them: not what norms, activations
    and chains of hardware learn. Of a parametrized one it is the weight that comes out whose length is kept. What does not learn, and what
    is 0 now, is left alone. The lengths get into the state of the optimiser with the first step, and so into checkpoints; a state that has
    them and is loaded brings its own.

    Args:
        model: Any module.
        optimizer: Of its parameters.
        every: Steps from one time to the next, ≥ 1.
        skip: Globs over the paths of layers that are left out.

    Returns:
        A handle; ``handle.remove()`` ends it.

    Raises:
        ConfigError: ``every`` is out of its domain, a glob names nothing, no weight is left, or a parametrization gives no weight of
            another length, as one whose rows always have length 1.

    Source:
        C. Lyle et al., "Normalization and effective learning rates in reinforcement learning", NeurIPS 2024: the projection. The
        norms are the model's own.

    >>> layer = nn.Linear(8, 4)
    >>> optimizer = torch.optim.SGD(layer.parameters(), lr=1.0)
    >>> before, handle = layer.weight.detach().norm(), keep_norms(layer, optimizer)
    >>> layer(torch.ones(1, 8)).square().sum().backward()
    >>> optimizer.step()
    >>> torch.allclose(layer.weight.detach().norm(), before)
    True
    """
    return _after_steps(model, optimizer, "keep_norms", every, skip, None)


def keep_variances(
    model: nn.Module, optimizer: torch.optim.Optimizer, std: float, *, every: int = 100, skip: Sequence[str] = ()
) -> RemovableHandle:
    """After some steps of an optimiser, give the weights of every layer one standard deviation: target variance rescaling.

    Weights are those of :func:`keep_norms`.

    Args:
        model: Any module.
        optimizer: Of its parameters.
        std: The standard deviation, > 0.
        every: Steps from one time to the next, ≥ 1.
        skip: Globs over the paths of layers that are left out.

    Returns:
        A handle; ``handle.remove()`` ends it.

    Raises:
        ConfigError: A number is out of its domain, a glob names nothing, no weight is left, or a parametrization gives no weight of
            another length, as one whose rows always have length 1.

    Source:
        L. Owen et al., "Variance control via weight rescaling in LLM pre-training", arXiv 2503.17500 (2025).
    """
    return _after_steps(model, optimizer, "keep_variances", every, skip, number("keep_variances: std", std, gt=0))


def _after_steps(
    model: nn.Module, optimizer: torch.optim.Optimizer, where: str, every: int, skip: Sequence[str], std: float | None
) -> RemovableHandle:
    check_model(where, model)
    if not isinstance(optimizer, torch.optim.Optimizer):
        raise ConfigError(f"{where}: optimizer must be a torch.optim.Optimizer, got {type(optimizer).__name__}")
    whole(f"{where}: every", every, 1)
    left = {id(value) for _, value in unskipped(model, skip, f"{where}: skip")}
    weights = [weight for weight in weights_of(model) if id(weight.parameters[0]) in left]
    if not weights:
        raise ConfigError(f"{where}: the model must have weights of two axes or more, has none that is left")
    places = [_place(where, weight) for weight in weights]
    lengths = [_length(weight.value) for weight in weights]

    @torch.no_grad()
    def rescale(optimizer: torch.optim.Optimizer, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        first = optimizer.param_groups[0]
        steps = first.get(_STEPS, 0) + 1
        first[_STEPS] = steps % every
        for weight, put, length in zip(weights, places, lengths, strict=True):
            moved = [value for value in weight.parameters if value.requires_grad and value.grad is not None]
            if not moved:  # a state that lacks what its optimiser wants harms
                continue
            held = optimizer.state[moved[-1]].setdefault(_HELD, length.to(moved[-1].device)) if std is None else None
            if steps == every and (held is None or bool(held > 0)):
                put(rescaled(weight.value, norm=held, std=std))

    return optimizer.register_step_post_hook(rescale)


def _place(where: str, weight: Weight) -> Callable[[Tensor], None]:
    """What gives a layer its weight in another length: through its parametrization, or by its gains where only they tell the length."""
    name, layer = f"{where}: {weight.path or type(weight.layer).__name__}", weight.layer
    if any(isinstance(hook, WeightNorm | SpectralNorm) and weight.name.startswith(hook.name) for hook in layer._forward_pre_hooks.values()):
        raise ConfigError(f"{name}: {weight.name} is of torch's former weight norms: use torch.nn.utils.parametrizations or skip the layer")
    value = weight._replace(layer=copy.deepcopy(layer)).value  # of a copy: what is found step by step takes one whenever it is read
    try:
        check_weight(name, layer, value * (2 / value.abs().max().clamp_min(torch.finfo(value.dtype).tiny)), weight.name)
    except ConfigError as error:
        if not weight.gains:
            raise ConfigError(f"{error}; skip the layer") from None
        return partial(_stretch, weight)
    return partial(put_weight, name, layer, name=weight.name)


def _stretch(weight: Weight, longer: Tensor) -> None:
    """Give a weight the length of one of the same direction, by its gains."""
    now = _length(weight.value)
    for gain in weight.gains:
        gain.mul_(torch.where(now > 0, _length(longer) / now, 1.0))


def _length(weight: Tensor) -> Tensor:
    length: Tensor = torch.linalg.vector_norm(weight, dtype=torch.promote_types(weight.dtype, torch.float32))
    return length.real
