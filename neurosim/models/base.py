"""What the models share: their registry, activations by name, initialisation by name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from torch import nn

from neurosim.nn.qcfs import QCFS
from neurosim.registry import Registry

MODELS: Registry[Callable[..., nn.Module]] = Registry("model")

Activation = Literal["relu", "leaky_relu", "elu", "selu", "gelu", "silu", "tanh", "sigmoid", "qcfs", "identity"]
Init = Literal["torch", "xavier", "kaiming"]

ACTIVATIONS: dict[str, type[nn.Module]] = {
    "relu": nn.ReLU,
    "leaky_relu": nn.LeakyReLU,
    "elu": nn.ELU,
    "selu": nn.SELU,
    "gelu": nn.GELU,
    "silu": nn.SiLU,
    "tanh": nn.Tanh,
    "sigmoid": nn.Sigmoid,
    "qcfs": QCFS,
    "identity": nn.Identity,
}


def activation_layer(name: Activation) -> nn.Module:
    """A fresh activation module."""
    return ACTIVATIONS[name]()


def initialize(model: nn.Module, init: Init) -> nn.Module:
    """Set the weights of all linear and convolution layers in place, biases stay; from torch's global generator, as torch's own layers do.

    Args:
        model: Any module.
        init: ``torch`` leaves them as they are; ``xavier`` and ``kaiming`` are the uniform distributions of those names (the latter with
            ReLU's gain).

    Returns:
        The same module.

    Source:
        X. Glorot, Y. Bengio, AISTATS 2010, eq. 16; K. He et al., ICCV 2015, eq. 10.
    """
    for module in model.modules():
        if isinstance(module, nn.Linear | nn.Conv1d | nn.Conv2d | nn.Conv3d):
            if init == "xavier":
                nn.init.xavier_uniform_(module.weight)
            elif init == "kaiming":
                nn.init.kaiming_uniform_(module.weight, nonlinearity="relu")
    return model
