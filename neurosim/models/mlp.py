"""Multilayer perceptron."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import Field, PositiveInt
from torch import nn

from neurosim.activations import Choice, Maker
from neurosim.initialisers import Init, initialize
from neurosim.models.base import MODELS, layer_sizes, suitable_init
from neurosim.models.checked import check_all, check_fits
from neurosim.models.normed import Chosen, check_norm, named_norm
from neurosim.models.weight_norm import WeightNormName, check_weight_norm, weight_normed


def _check(arguments: Mapping[str, Any]) -> None:
    *_, last = sizes = arguments["sizes"]
    places = [(features, 0) for features in sizes[1:-1]]
    check_all(
        lambda: check_fits("activation", arguments["activation"], places),
        lambda: check_fits("last_activation", arguments["last_activation"], [(last, 0)]),
        lambda: suitable_init(arguments),
        lambda: check_weight_norm(arguments["weight_norm"], arguments["activation"], arguments["init"]),
        lambda: check_norm(arguments["norm"], places),
    )


@MODELS.register("mlp", check=_check)
def mlp(
    sizes: Annotated[list[PositiveInt], Field(min_length=2)],
    activation: Choice = "relu",
    last_activation: Choice = "identity",
    bias: bool = True,
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0,
    init: Init = "torch",
    norm: Chosen = None,
    weight_norm: WeightNormName = None,
) -> nn.Sequential:
    """Linear layers ``fc1``, ``fc2``, … with activations between them; images are flattened first.

    Args:
        sizes: Features from the input to the classes.
        activation: After every layer but the last: a name in ``ACTIVATIONS``, or ``kind`` and parameters.
        last_activation: After the last layer.
        bias: Whether the layers have biases.
        dropout: Probability after every hidden activation.
        init: First weights: a name in ``INITIALISERS``, or ``kind`` and settings.
        norm: After every layer but the last, before its activation: the name of a norm, or ``kind`` and its arguments; null: none.
        weight_norm: Parametrization of the weights of all layers but the last: its name in ``NORMS``, or ``kind`` and its arguments; null:
            none.

    Shapes:
        x ``(batch, *)`` with ``sizes[0]`` elements a sample; result ``(batch, sizes[-1])``.

    >>> mlp([64, 32, 10])
    Sequential(
      (flatten): Flatten(start_dim=1, end_dim=-1)
      (fc1): Linear(in_features=64, out_features=32, bias=True)
      (act1): ReLU()
      (fc2): Linear(in_features=32, out_features=10, bias=True)
    )
    """
    layers: OrderedDict[str, nn.Module] = OrderedDict(flatten=nn.Flatten())
    last = len(layer_sizes("mlp", sizes)) - 1
    hidden, final = Maker(activation), Maker(last_activation)
    for at in range(1, len(sizes)):
        layers[f"fc{at}"] = nn.Linear(sizes[at - 1], sizes[at], bias)
        if at < last:
            layers |= named_norm(f"norm{at}", norm, sizes[at], axes=0, depth=at)
        activate = hidden if at < last else final
        if activate.choice != "identity":
            layers[f"act{at}"] = activate()
        if dropout and at < last:
            layers[f"drop{at}"] = nn.Dropout(dropout)
    model = nn.Sequential(layers)
    initialize(model, init)
    weight_normed(model, weight_norm)
    return model
