"""Plain convolutional network."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

from pydantic import Field, PositiveInt
from torch import nn

from neurosim.activations import Choice, Maker
from neurosim.errors import ConfigError
from neurosim.initialisers import Init, initialize
from neurosim.models.base import MODELS, image_shape, suitable_init
from neurosim.models.checked import check_all, check_fits
from neurosim.models.normed import Chosen, check_norm, named_norm
from neurosim.models.weight_norm import WeightNormName, check_weight_norm, weight_normed


def _check(arguments: Mapping[str, Any]) -> None:
    places = _places(arguments["channels"], arguments["hidden"])
    check_all(
        lambda: check_fits("activation", arguments["activation"], places),
        lambda: suitable_init(arguments),
        lambda: check_weight_norm(arguments["weight_norm"], arguments["activation"], arguments["init"]),
        lambda: _check_norms(arguments["norm"], arguments["batch_norm"], places),
    )


def _places(channels: Sequence[int], hidden: Sequence[int]) -> list[tuple[int, int]]:
    return [(features, axes) for axes, widths in ((2, channels), (0, hidden)) for features in widths]


def _check_norms(norm: Chosen, batch_norm: bool, places: Sequence[tuple[int, int]]) -> None:
    if norm is not None and batch_norm:
        raise ConfigError("batch_norm: must be left out where there is a norm; norm: batch is one after every layer but the last, got both")
    check_norm(norm, places)


@MODELS.register("cnn", check=_check)
def cnn(
    input_shape: Annotated[list[PositiveInt], Field(min_length=3, max_length=3)],
    channels: Annotated[list[PositiveInt], Field(min_length=1)],
    hidden: list[PositiveInt],
    classes: PositiveInt,
    activation: Choice = "relu",
    kernel: PositiveInt = 3,
    pool: Literal["max", "average", "none"] = "max",
    pool_every: PositiveInt = 1,
    batch_norm: bool = False,
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0,
    bias: bool = True,
    init: Init = "torch",
    norm: Chosen = None,
    weight_norm: WeightNormName = None,
) -> nn.Sequential:
    """Convolutions ``conv1``, ``conv2``, … of stride 1 and same size, pooling by 2, then linear layers ``fc1``, ``fc2``, ….

    Args:
        input_shape: Channels, height and width of an image.
        channels: Output channels of the convolutions.
        hidden: Features of the hidden linear layers; may be empty.
        classes: Outputs.
        activation: After every layer but the last: a name in ``ACTIVATIONS``, or ``kind`` and parameters.
        kernel: Side of the convolution kernels, odd.
        pool: Pooling over 2 × 2.
        pool_every: Pool after every so many convolutions.
        batch_norm: Batch normalization after every convolution.
        dropout: Probability after every hidden linear layer.
        bias: Whether the layers have biases.
        init: First weights: a name in ``INITIALISERS``, or ``kind`` and settings.
        norm: After every layer but the last, before its activation: the name of a norm, or ``kind`` and its arguments; null: none.
        weight_norm: Parametrization of the weights of all layers but the last: its name in ``NORMS``, or ``kind`` and its arguments; null:
            none.

    Shapes:
        x ``(batch, *input_shape)``; result ``(batch, classes)``.

    Raises:
        ConfigError: The kernel is even, the image is too small for that many poolings, or the norm does not fit.
    """
    _check_norms(norm, batch_norm, _places(channels, hidden))
    if kernel % 2 == 0:
        raise ConfigError(f"cnn: kernel must be odd, got {kernel}")
    features, height, width = image_shape("cnn", input_shape)
    activate = Maker(activation)
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    for at, outputs in enumerate(channels, 1):
        layers[f"conv{at}"] = nn.Conv2d(features, outputs, kernel, padding=kernel // 2, bias=bias)
        if batch_norm:
            layers[f"norm{at}"] = nn.BatchNorm2d(outputs)
        layers |= named_norm(f"norm{at}", norm, outputs, axes=2, depth=at)
        layers[f"act{at}"] = activate()
        features = outputs
        if pool != "none" and at % pool_every == 0:
            layers[f"pool{at}"] = nn.MaxPool2d(2) if pool == "max" else nn.AvgPool2d(2)
            height, width = height // 2, width // 2
    if not height * width:
        raise ConfigError(
            f"cnn: images of {input_shape[1]} × {input_shape[2]} are too small for {len(channels) // pool_every} poolings by 2"
        )
    layers["flatten"] = nn.Flatten()
    sizes = [features * height * width, *hidden, classes]
    for at in range(1, len(sizes)):
        layers[f"fc{at}"] = nn.Linear(sizes[at - 1], sizes[at], bias)
        if at < len(sizes) - 1:
            layers |= named_norm(f"fc_norm{at}", norm, sizes[at], axes=0, depth=len(channels) + at)
            layers[f"fc_act{at}"] = activate()
            if dropout:
                layers[f"drop{at}"] = nn.Dropout(dropout)
    model = nn.Sequential(layers)
    initialize(model, init)
    weight_normed(model, weight_norm)
    return model
