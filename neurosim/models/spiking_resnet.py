"""Spiking residual networks."""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal, NamedTuple, get_args

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
from neurosim.nn import SpikingNetwork, SpikingResidual, SpikingSequential

Residual = Literal["sew", "ms"]


class Plan(NamedTuple):
    """A residual network: blocks of two convolutions."""

    stem: int  #: channels
    stages: tuple[tuple[int, int], ...]  #: channels and number of blocks; the first block of all but the first stage has stride 2
    hidden: tuple[int, ...]  #: features of linear layers before the last


PLANS = {
    18: Plan(64, ((64, 2), (128, 2), (256, 2), (512, 2)), ()),
    19: Plan(128, ((128, 3), (256, 3), (512, 2)), (256,)),
}


def _channels(step: int, width: float) -> int:
    return max(1, round(step * width))


def _space(input_shape: Sequence[int], stage: int) -> tuple[int, ...]:
    """Height and width of the maps of a stage: halved, rounded up, at the beginning of all but the first."""
    return tuple(-(-side // 2 ** (stage - 1)) for side in input_shape[1:])


def _check(arguments: Mapping[str, Any]) -> None:
    plan, width = PLANS[arguments["depth"]], arguments["width"]
    maps = [(plan.stem, 1), *((channels, stage) for stage, (channels, _) in enumerate(plan.stages, 1))]
    places = [(channels, _space(arguments["input_shape"], stage)) for channels, stage in maps]
    places += [(size, ()) for size in plan.hidden]
    check_parts(arguments, [(_channels(size, width), space) for size, space in places], maps=True)


@MODELS.register("spiking_resnet", check=_check)
def spiking_resnet(
    depth: Literal[18, 19],
    input_shape: Annotated[list[PositiveInt], Field(min_length=3, max_length=3)],
    classes: PositiveInt,
    time_steps: PositiveInt = 4,
    residual: Residual = "sew",
    norm: NormName = "tdbn",
    neuron: Mapping[str, Any] = NEURON,
    activation: SpikeOrActivation = "spike",
    layers: Layers = "plain",
    ei: Mapping[str, Any] = {},
    encoder: Mapping[str, Any] | None = None,
    width: PositiveFloat = 1.0,
    bias: bool = False,
    init: Init = "torch",
    weight_norm: WeightNormName = None,
) -> SpikingNetwork:
    """A residual network of neurons for small images: a 3 × 3 stem of stride 1, blocks of two convolutions, the mean of the maps.

    Blocks with ``sew`` residuals are conv – norm – fire – conv – norm – fire, to which the block's input is added: spikes are counted. With
    ``ms`` they are fire – conv – norm – fire – conv – norm: membranes are added, and what runs through the convolutions is spikes.

    Args:
        depth: 18, or 19 as in the work on tdBN.
        input_shape: Channels, height and width of an image.
        classes: Outputs.
        time_steps: How long an image is shown.
        residual: See above. Excitatory-inhibitory layers need ``sew``: membranes, which ``ms`` sends through its shortcuts, may be below 0.
        norm, neuron, activation, layers, ei, bias: See :class:`~neurosim.models.spiking_parts.Parts`.
        init: First weights: a name in ``INITIALISERS``, or ``kind`` and settings, with an activation for the neurons where they need one.
        weight_norm: Parametrization of the weights of all layers but the last: its name in ``NORMS``, or ``kind`` and its arguments; null:
            none.
        encoder: ``kind`` and arguments of an entry of ``ENCODERS``, but for its ``steps``; ``null`` shows the image as it is at every step.
        width: Factor on all channels.

    Shapes:
        x ``(batch, *input_shape)``; result ``(batch, classes)``.

    Raises:
        ConfigError: The choices do not go together.

    Source:
        K. He et al., CVPR 2016 (depth 18); H. Zheng et al., AAAI 2021 (depth 19, and 1/√2 on branches that are added); W. Fang et al.,
        NeurIPS 2021 (``sew``, ADD); Y. Hu et al., IEEE TNNLS 36 (2025) 2353–2367 (``ms``).
    """
    input_shape = image_shape("spiking_resnet", input_shape)
    if depth not in PLANS:
        raise ConfigError(f"spiking_resnet: depth must be one of {', '.join(map(str, PLANS))}, got {depth!r}")
    one_of("spiking_resnet: residual", residual, get_args(Residual))
    if residual == "ms" and layers == "ei":
        raise ConfigError("spiking_resnet: layers='ei' takes inputs of 0 or more, which residual='sew' gives, got residual='ms'")
    parts = Parts(norm, neuron, time_steps, bias, activation, layers, ei, encoder, init, weight_norm, maps=True)
    plan, features = PLANS[depth], _channels(PLANS[depth].stem, width)
    body: OrderedDict[str, nn.Module] = OrderedDict(stem=parts.conv(input_shape[0], features, 3))
    body |= parts.normed("stem_norm", features, _space(input_shape, 1), depth=1)
    if residual == "sew":
        body["stem_fire"] = parts.firing(features, axes=3)
    above = 1  # layers
    for stage, (channels, blocks) in enumerate(plan.stages, 1):
        outputs, space = _channels(channels, width), _space(input_shape, stage)
        for block in range(1, blocks + 1):
            stride = 2 if stage > 1 and block == 1 else 1
            body[f"block{stage}_{block}"] = _block(parts, residual, features, outputs, stride, space, above)
            features, above = outputs, above + 2
    if residual == "ms":
        body["last_fire"] = parts.firing(features, axes=3)
    body["pool"], body["flatten"] = nn.AdaptiveAvgPool2d(1), nn.Flatten()
    for at, size in enumerate((_channels(size, width) for size in plan.hidden), 1):
        body[f"fc{at}"] = parts.linear(features, size)
        body |= parts.normed(f"fc_norm{at}", size, (), depth=above + at)
        body[f"fc_fire{at}"] = parts.firing(size, axes=1)
        features = size
    body[f"fc{len(plan.hidden) + 1}"] = parts.linear(features, classes, last=True)
    return parts.network(body)


def _block(parts: Parts, residual: Residual, inputs: int, outputs: int, stride: int, space: tuple[int, ...], above: int) -> SpikingResidual:
    alpha = 1 / math.sqrt(2) if residual == "ms" else 1.0  # of the branches that are added as currents
    branch: OrderedDict[str, nn.Module] = OrderedDict()
    for at, (before, step) in enumerate(((inputs, stride), (outputs, 1)), 1):
        product = OrderedDict([(f"conv{at}", parts.conv(before, outputs, 3, step))])
        product |= parts.normed(f"norm{at}", outputs, space, depth=above + at, alpha=alpha if at == 2 else 1.0)
        fire = {f"fire{at}": parts.firing(outputs if residual == "sew" else before, axes=3)}
        branch |= {**product, **fire} if residual == "sew" else {**fire, **product}
    if stride == 1 and inputs == outputs:
        return SpikingResidual(SpikingSequential(branch))
    shortcut: OrderedDict[str, nn.Module] = OrderedDict(conv=parts.conv(inputs, outputs, 1, stride))
    shortcut |= parts.normed("norm", outputs, space, depth=above + 2, alpha=alpha)
    if residual == "sew":
        shortcut["fire"] = parts.firing(outputs, axes=3)
    return SpikingResidual(SpikingSequential(branch), SpikingSequential(shortcut))
