"""First weights for a whole model, in a line."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Annotated, Any, TypeVar

import torch
from pydantic import BeforeValidator
from torch import Tensor, nn

from neurosim.activations import Activation
from neurosim.convert.select import Selection
from neurosim.errors import ConfigError
from neurosim.initialisers.base import INITIALISERS, Initialisation, Initialiser, described, initialiser, name_of
from neurosim.initialisers.layers import Target, targets
from neurosim.random import stream

Model = TypeVar("Model", bound=nn.Module)


def initialize(model: Model, choice: object, *inputs: Tensor, seed: int | None = None, layers: Selection = None, **settings: Any) -> Model:
    """Give the linear and convolution layers of a model first weights, in place.

    The model may be digital, spiking, or on simulated hardware, whose clean weights are set.

    Args:
        model: Any module.
        choice: A name in :data:`neurosim.INITIALISERS`, or a mapping with the name as ``kind`` and settings beside it.
        inputs: What the model is called with, such as a batch of images, for initialisers that take one (``lsuv``); moved to the model's
            device.
        seed: Of the weights, in [0, 2⁶³): every layer draws from a stream of its own path. None: torch's global generator, as torch's own
            layers do.
        layers: Which: globs over paths, or types; None: all that the initialiser is for.
        settings: Of the initialiser.

    Returns:
        The same model, with the report at ``model.initialisation``.

    Raises:
        ConfigError: There is no such initialiser, setting or layer, a value is out of its domain, what feeds a layer does not suit, or data
            are missing or too many. The model is then as it was.
        DataError: The model does not take the data; likewise.

    >>> model = nn.Sequential(nn.Linear(100, 50), nn.GELU(), nn.Linear(50, 10))
    >>> print(initialize(model, "variance_preserving", seed=0).initialisation)
    variance_preserving: 2 layers
      layer  type    fed by  std of weights  of bias
      0      Linear  input   0.1004          0
      2      Linear  GELU    0.22            0
    """
    if not isinstance(model, nn.Module):
        raise ConfigError(f"initialize: must be given a model, a torch.nn.Module, got a {type(model).__name__}")
    chosen = initialiser(choice, **settings)
    name = name_of(chosen)
    _check_data(name, chosen, inputs)
    found = [target for target in targets(model, layers, look_back=chosen.looks_back) if isinstance(target.layer, chosen.kinds)]
    for target in found:
        if not target.layer.weight.numel():
            raise ConfigError(f"initialize: {target.name} must have weights, has none: their shape is {tuple(target.layer.weight.shape)}")
    sources = [None if seed is None else stream(seed, target.path, "initialize") for target in found]
    place = found[0].layer.weight.device if found else torch.device("cpu")
    with _undone_on_error(found):
        for target, source in zip(found, sources, strict=True):
            chosen.weigh(target, source)
        done = chosen.settle(model, found, [one.to(place) for one in inputs])
    report: Any = model
    report.initialisation = Initialisation(name, tuple(described(target, done.get(target.path)) for target in found))
    return model


def check_init(choice: object, activation: object = None) -> Initialiser:
    """What a model's ``init`` names, if it suits the model's activation.

    Args:
        choice: As for :func:`initialize`.
        activation: What feeds the layers of the model, as a config has it; None: the model says nothing of it.

    Raises:
        ConfigError: There is no such initialiser or setting, a value is out of its domain, or the activation does not suit.
    """
    chosen = initialiser(choice)
    chosen.suits(activation)
    return chosen


def takes_data(choice: object) -> bool:
    """Whether what a config's ``init`` names is given a batch, after the model is made and on its hardware."""
    name = choice.get("kind") if isinstance(choice, Mapping) else choice
    return isinstance(name, str) and name in INITIALISERS and INITIALISERS[name].needs_data


def _in_config(choice: object) -> object:
    try:
        initialiser(choice)
    except ConfigError as error:
        raise ValueError(str(error).removeprefix("initialiser: ")) from None
    return choice


#: what a model takes: a name, or a mapping with ``kind`` and settings
Init = Annotated[str | dict[str, Any], BeforeValidator(_in_config)]


def _check_data(name: str, chosen: Initialiser, inputs: Sequence[object]) -> None:
    if chosen.needs_data and not inputs:
        raise ConfigError(
            f"initialize: {name} must be given a batch, got none; build the model with its default init, then "
            f"neurosim.initialize(model, {name!r}, images), which a recipe does for a config"
        )
    if inputs and not chosen.needs_data:
        raise ConfigError(f"initialize: {name} takes no batch, got {len(inputs)}; settings are given by name")
    wrong = next((one for one in inputs if not isinstance(one, Tensor)), None)
    if wrong is not None:
        raise ConfigError(f"initialize: must be given the tensors that the model is called with, got a {type(wrong).__name__}")


@contextmanager
def _undone_on_error(found: Sequence[Target]) -> Iterator[None]:
    """Weights, and thresholds of activations, as they were, if something fails."""
    modules = {id(one): one for target in found for one in (target.layer, target.activation) if one is not None}
    before = [(value, value.detach().clone()) for module in modules.values() for value in module.parameters()]
    fixed = [(one, dict(one.fixed), one.kept) for one in modules.values() if isinstance(one, Activation)]
    try:
        yield
    except BaseException:
        with torch.no_grad():
            for parameter, value in before:
                parameter.copy_(value)
        for module, values, kept in fixed:
            module.fixed, module.kept = values, kept
        raise
