"""Multilayer perceptron over frames whose layers send changes."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import Field, PositiveFloat, PositiveInt
from torch import Tensor, nn

from neurosim.activations import Choice, Maker
from neurosim.initialisers import Init, initialize
from neurosim.models.base import MODELS, layer_sizes, suitable_init
from neurosim.models.checked import check_all, check_fits
from neurosim.nn.delta import DeltaActivation, StepGradient
from neurosim.nn.time import SpikingSequential


class FrameClassifier(nn.Module):
    """A network over time behind the interface of a classifier of images: frames in, the mean of its outputs over the frames out.

    Args:
        body: Takes ``(time, batch, *)`` and gives ``(time, batch, classes)``.

    Shapes:
        x ``(batch, time, *)``; result ``(batch, classes)``.
    """

    body: nn.Module

    def __init__(self, body: nn.Module) -> None:
        super().__init__()
        self.body = body

    def forward(self, x: Tensor) -> Tensor:
        """The mean of the body's outputs."""
        outputs: Tensor = self.body(x.movedim(1, 0))
        return outputs.mean(0)


def _check(arguments: Mapping[str, Any]) -> None:
    places = [(features, 0) for features in arguments["sizes"][1:-1]]
    check_all(lambda: check_fits("activation", arguments["activation"], places), lambda: suitable_init(arguments))


@MODELS.register("delta_mlp", check=_check)
def delta_mlp(
    sizes: Annotated[list[PositiveInt], Field(min_length=2)],
    step: PositiveFloat = 0.1,
    learn_step: bool = True,
    step_gradient: StepGradient = "lsq",
    sparsity_rate: Annotated[float, Field(ge=0)] = 0.0,
    activation: Choice = "relu",
    bias: bool = True,
    init: Init = "torch",
) -> FrameClassifier:
    """Linear layers ``fc1``, ``fc2``, … on every frame, a quantiser ``delta0``, ``delta1``, … before each; the outputs are averaged.

    Args:
        sizes: Features from one frame to the classes.
        step: First step of the quantisers.
        learn_step: Whether the steps are learned.
        step_gradient: What a step learns from; see :func:`neurosim.nn.delta_quantize`.
        sparsity_rate: Weight of the changes in the loss; that of a layer is this times the width of the layer it sends to. The recipe
            ``delta`` uses it.
        activation: After every layer but the last: a name in ``ACTIVATIONS``, or ``kind`` and parameters.
        bias: Whether the layers have biases.
        init: First weights: a name in ``INITIALISERS``, or ``kind`` and settings.

    Shapes:
        x ``(batch, time, *)`` with ``sizes[0]`` elements a frame; result ``(batch, sizes[-1])``.

    >>> list(dict(delta_mlp([64, 32, 10]).body.named_children()))
    ['flatten', 'delta0', 'fc1', 'act1', 'delta1', 'fc2']
    """
    layers: OrderedDict[str, nn.Module] = OrderedDict(flatten=nn.Flatten())
    last, activate = len(layer_sizes("delta_mlp", sizes)) - 1, Maker(activation)
    for at in range(1, len(sizes)):
        layers[f"delta{at - 1}"] = DeltaActivation(step, learn_step, step_gradient, rate=sparsity_rate, fan_out=sizes[at])
        layers[f"fc{at}"] = nn.Linear(sizes[at - 1], sizes[at], bias)
        if at < last and activation != "identity":
            layers[f"act{at}"] = activate()
    initialize(model := FrameClassifier(SpikingSequential(layers)), init)
    return model
