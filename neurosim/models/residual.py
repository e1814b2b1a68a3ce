"""Deep residual networks, with norms and without."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import fields
from typing import Annotated, Any

from pydantic import Field, PositiveFloat, PositiveInt
from torch import nn

from neurosim.activations import Choice
from neurosim.checks import one_of, whole
from neurosim.errors import ConfigError
from neurosim.initialisers import Init
from neurosim.models.base import MODELS, image_shape, layer_sizes
from neurosim.models.norm_free import SCHEMES, Blocks, Choices, Scheme, check_choices
from neurosim.models.normed import Chosen
from neurosim.models.weight_norm import WeightNormName
from neurosim.norms.placement import Placement


def _check(arguments: Mapping[str, Any]) -> None:
    choices = Choices(**{one.name: arguments[one.name] for one in fields(Choices)})
    places = [(arguments["sizes"][1], 0)] if "sizes" in arguments else [(channels, 2) for channels in arguments["channels"]]
    check_choices(arguments["scheme"], arguments["activation"], choices, places)


@MODELS.register("residual_mlp", check=_check)
def residual_mlp(
    sizes: Annotated[list[PositiveInt], Field(min_length=3, max_length=3)],
    depth: PositiveInt = 10,
    activation: Choice = "relu",
    scheme: Scheme = "plain",
    alpha: PositiveFloat = 0.2,
    norm: Chosen = None,
    placement: Placement = "pre",
    init: Init | None = None,
    weight_norm: WeightNormName = None,
) -> nn.Sequential:
    """A linear layer, residual blocks of two linear layers with an activation between them, and a linear layer; images are flattened first.

    Args:
        sizes: Features of the input, of the stream, and classes.
        depth: Residual blocks, L.
        activation: Within every block: a name in ``ACTIVATIONS``, or ``kind`` and parameters; a function of one number.
        scheme: What keeps the stream from growing: ``plain``, ``fixup``, ``skipinit``, ``1/L``, ``1/√L``, ``sws+nf``, ``wn`` or ``selu``;
            see :class:`neurosim.models.norm_free.Blocks`.
        alpha: ``sws+nf``: factor on every branch.
        norm: With the scheme ``plain``, the name of a norm, or ``kind`` and its arguments; null: none.
        placement: Where it stands around every branch: ``pre``, ``post``, ``mid``, ``peri``, ``sandwich``, ``deep``, ``hybrid`` or ``mix``,
            as of :class:`neurosim.norms.Residual`, with the norms at the ends of the stream that it asks for; or ``none``, which
            leaves the norm out of the model, a level of a study that varies places.
        init: First weights: a name in ``INITIALISERS``, or ``kind`` and settings; null: those of the scheme.
        weight_norm: Parametrization of the weights of all layers but the last: its name in ``NORMS``, or ``kind`` and its arguments; null:
            none, or that of the scheme.

    Shapes:
        x ``(batch, *)`` with ``sizes[0]`` elements a sample; result ``(batch, sizes[-1])``.

    Raises:
        ConfigError: A size or the scheme is not as above, or the activation does not go with it.

    >>> model = residual_mlp([64, 32, 10], depth=2, scheme="skipinit")
    >>> [name for name, _ in model.named_children()]
    ['flatten', 'stem', 'block1', 'block2', 'head']
    """
    inputs, width, classes = _three("residual_mlp", sizes)
    one_of("residual_mlp.scheme", scheme, SCHEMES)
    choices = Choices(norm, placement, init, weight_norm)
    make = Blocks(scheme, activation, [whole("residual_mlp.depth", depth, 1)], alpha, choices)
    layers: OrderedDict[str, nn.Module] = OrderedDict(flatten=nn.Flatten())
    layers["stem"] = make.layer(nn.Linear(inputs, width, make.bias))
    layers |= make.end("start", width, axes=0)
    for at in range(1, depth + 1):
        layers[f"block{at}"] = make.block(*(nn.Linear(width, width, make.bias) for _ in range(2)))
    layers |= make.end("end", width, axes=0)
    layers["head"] = make.layer(nn.Linear(width, classes), behind=scheme == "selu", last=True)
    return make.model(layers)


def _three(where: str, sizes: list[int]) -> list[int]:
    found = layer_sizes(where, sizes)
    if len(found) != 3:
        raise ConfigError(f"{where}.sizes: must be three, of the input, of the stream and of the classes, got {sizes!r}")
    return found


@MODELS.register("residual_cnn", check=_check)
def residual_cnn(
    input_shape: Annotated[list[PositiveInt], Field(min_length=3, max_length=3)],
    channels: Annotated[list[PositiveInt], Field(min_length=1)],
    classes: PositiveInt,
    depth: PositiveInt = 2,
    activation: Choice = "relu",
    scheme: Scheme = "plain",
    alpha: PositiveFloat = 0.2,
    norm: Chosen = None,
    placement: Placement = "pre",
    init: Init | None = None,
    weight_norm: WeightNormName = None,
) -> nn.Sequential:
    """A convolution, stages of residual blocks of two 3 × 3 convolutions with an activation between them, a linear layer on the mean maps.

    All stages but the first begin with a transition: means of 2 × 2, and a 1 × 1 convolution as shortcut.

    Args:
        input_shape: Channels, height and width of an image.
        channels: Of every stage.
        classes: Outputs.
        depth: Residual blocks of every stage.
        activation: Within every block: a name in ``ACTIVATIONS``, or ``kind`` and parameters; a function of one number.
        scheme: What keeps the stream from growing, as for ``residual_mlp``.
        alpha: ``sws+nf``: factor on every branch.
        norm: With the scheme ``plain``, the name of a norm, or ``kind`` and its arguments; null: none.
        placement: Where it stands around every branch: ``pre``, ``post``, ``mid``, ``peri``, ``sandwich``, ``deep``, ``hybrid`` or ``mix``,
            as of :class:`neurosim.norms.Residual`, with the norms at the ends of the stream that it asks for; or ``none``, which
            leaves the norm out of the model, a level of a study that varies places.
        init: First weights: a name in ``INITIALISERS``, or ``kind`` and settings; null: those of the scheme.
        weight_norm: Parametrization of the weights of all layers but the last: its name in ``NORMS``, or ``kind`` and its arguments; null:
            none, or that of the scheme.

    Shapes:
        x ``(batch, *input_shape)``; result ``(batch, classes)``.

    Raises:
        ConfigError: A size or the scheme is not as above, or the image is too small for that many stages.

    >>> model = residual_cnn([1, 8, 8], [8, 16], 10, depth=1, scheme="fixup")
    >>> [name for name, _ in model.named_children()]
    ['stem', 'block1', 'block2', 'mean', 'flatten', 'head']
    """
    features, height, side = image_shape("residual_cnn", input_shape)
    one_of("residual_cnn.scheme", scheme, SCHEMES)
    given: object = channels
    if not isinstance(given, list | tuple) or not given:
        raise ConfigError(f"residual_cnn.channels: must be one number of channels or more, got {channels!r}")
    widths = [whole(f"residual_cnn.channels[{at}]", width, 1) for at, width in enumerate(channels)]
    if min(height, side) >> (len(widths) - 1) == 0:
        raise ConfigError(f"residual_cnn: images of {height} × {side} are too small for {len(widths)} stages")
    whole("residual_cnn.classes", classes, 1)
    choices = Choices(norm, placement, init, weight_norm)
    make = Blocks(scheme, activation, [whole("residual_cnn.depth", depth, 1)] * len(widths), alpha, choices)

    def conv(inputs: int, outputs: int, kernel: int = 3) -> nn.Conv2d:
        return nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, bias=make.bias)

    layers: OrderedDict[str, nn.Module] = OrderedDict(stem=make.layer(conv(features, widths[0])))
    layers |= make.end("start", widths[0], axes=2)
    before, blocks = widths[0], 0
    for stage, width in enumerate(widths):
        for at in range(depth):
            transition = stage > 0 and at == 0
            shortcut, pool = (conv(before, width, 1), nn.AvgPool2d(2)) if transition else (None, None)
            block = make.block(conv(before, width), conv(width, width), shortcut, pool)
            blocks, before = blocks + 1, width
            layers[f"block{blocks}"] = block
    layers |= make.end("end", before, axes=2)
    layers["mean"], layers["flatten"] = nn.AdaptiveAvgPool2d(1), nn.Flatten()
    layers["head"] = make.layer(nn.Linear(before, classes), behind=scheme == "selu", last=True)
    return make.model(layers)
