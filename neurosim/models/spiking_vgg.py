"""Spiking VGG networks."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field, PositiveFloat, PositiveInt
from torch import nn

from neurosim.checks import one_of
from neurosim.errors import ConfigError
from neurosim.initialisers import Init
from neurosim.models.base import MODELS, image_shape
from neurosim.models.made import NEURON
from neurosim.models.spiking_norms import NormName
from neurosim.models.spiking_parts import Layers, Parts, SpikeOrActivation, check_parts
from neurosim.models.weight_norm import WeightNormName
from neurosim.nn import SpikingNetwork

#: by depth, channels of the convolutions; "P" is a pooling by 2
PLANS: dict[int, tuple[int | Literal["P"], ...]] = {
    5: (64, "P", 128, 128, "P"),
    8: (64, "P", 128, "P", 256, "P", 512, "P", 512, "P"),
    11: (64, "P", 128, "P", 256, 256, "P", 512, 512, "P", 512, 512, "P"),
    16: (64, 64, "P", 128, 128, "P", 256, 256, 256, "P", 512, 512, 512, "P", 512, 512, 512, "P"),
}


def _channels(step: int, width: float) -> int:
    return max(1, round(step * width))


def _check(arguments: Mapping[str, Any]) -> None:
    height, side = arguments["input_shape"][1:]
    places: list[tuple[int, tuple[int, ...]]] = [(features, ()) for features in arguments["hidden"]]
    for step in PLANS[arguments["depth"]]:
        if step == "P":
            height, side = height // 2, side // 2
        elif height * side:  # if not, there are too many poolings, which building it says
            places.append((_channels(step, arguments["width"]), (height, side)))
    check_parts(arguments, places, maps=True)


@MODELS.register("spiking_vgg", check=_check)
def spiking_vgg(
    depth: Literal[5, 8, 11, 16],
    input_shape: Annotated[list[PositiveInt], Field(min_length=3, max_length=3)],
    classes: PositiveInt,
    time_steps: PositiveInt = 4,
    norm: NormName = "bn",
    neuron: Mapping[str, Any] = NEURON,
    activation: SpikeOrActivation = "spike",
    layers: Layers = "plain",
    ei: Mapping[str, Any] = {},
    encoder: Mapping[str, Any] | None = None,
    width: PositiveFloat = 1.0,
    hidden: tuple[PositiveInt, ...] = (),
    pool: Literal["average", "max"] = "average",
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0,
    bias: bool = False,
    init: Init = "torch",
    weight_norm: WeightNormName = None,
) -> SpikingNetwork:
    """A VGG network of neurons: 3 × 3 convolutions ``conv1`` …, pooling by 2, linear layers ``fc1`` ….

    The number in its name does not count what the code base of each author counts; the plans are those of the E-I networks: 5, 8, 11 and 16
    are 3, 5, 8 and 13 convolutions and one linear layer, with ``hidden`` more.

    Args:
        depth: Which plan.
        input_shape: Channels, height and width of an image.
        classes: Outputs.
        time_steps: How long an image is shown.
        norm, neuron, activation, layers, ei, bias: See :class:`~neurosim.models.spiking_parts.Parts`.
        init: First weights: a name in ``INITIALISERS``, or ``kind`` and settings, with an activation for the neurons where they need one.
        weight_norm: Parametrization of the weights of all layers but the last: its name in ``NORMS``, or ``kind`` and its arguments; null:
            none.
        encoder: ``kind`` and arguments of an entry of ``ENCODERS``, but for its ``steps``; ``null`` shows the image as it is at every step.
        width: Factor on all channels.
        hidden: Features of linear layers before the last.
        pool: Pooling of the spikes.
        dropout: Probability after every neuron behind a hidden linear layer.

    Shapes:
        x ``(batch, *input_shape)``; result ``(batch, classes)``.

    Raises:
        ConfigError: The image is too small for the poolings, or the choices do not go together.

    Source:
        K. Simonyan, A. Zisserman, "Very deep convolutional networks for large-scale image recognition", ICLR 2015, table 1.
    """
    input_shape = image_shape("spiking_vgg", input_shape)
    if depth not in PLANS:
        raise ConfigError(f"spiking_vgg: depth must be one of {', '.join(map(str, PLANS))}, got {depth!r}")
    one_of("spiking_vgg: pool", pool, ("average", "max"))
    parts = Parts(norm, neuron, time_steps, bias, activation, layers, ei, encoder, init, weight_norm, maps=True)
    features, height, side = input_shape
    body: OrderedDict[str, nn.Module] = OrderedDict()
    convolutions = poolings = 0
    for step in PLANS[depth]:
        if step == "P":
            poolings += 1
            body[f"pool{poolings}"] = nn.AvgPool2d(2) if pool == "average" else nn.MaxPool2d(2)
            height, side = height // 2, side // 2
            continue
        convolutions += 1
        outputs = _channels(step, width)
        body[f"conv{convolutions}"] = parts.conv(features, outputs, 3)
        body |= parts.normed(f"norm{convolutions}", outputs, (height, side), depth=convolutions)
        body[f"fire{convolutions}"] = parts.firing(outputs, axes=3)
        features = outputs
    if not height * side:
        raise ConfigError(
            f"spiking_vgg: images of {input_shape[1]} × {input_shape[2]} are too small for the {poolings} poolings of depth {depth}"
        )
    body["flatten"] = nn.Flatten()
    sizes = [features * height * side, *hidden]
    for at in range(1, len(sizes)):
        body[f"fc{at}"] = parts.linear(sizes[at - 1], sizes[at])
        body |= parts.normed(f"fc_norm{at}", sizes[at], (), depth=convolutions + at)
        body[f"fc_fire{at}"] = parts.firing(sizes[at], axes=1)
        if dropout:
            body[f"drop{at}"] = nn.Dropout(dropout)
    body[f"fc{len(sizes)}"] = parts.linear(sizes[-1], classes, last=True)
    return parts.network(body)
