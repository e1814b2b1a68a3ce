"""Initialisers that count inputs and outputs, and look no further."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from torch import Tensor, nn

from neurosim.checks import number
from neurosim.initialisers.base import INITIALISERS, Initialiser, Scaling
from neurosim.initialisers.draws import bias_of, draw, uniform
from neurosim.initialisers.layers import Target
from neurosim.norms.shaped import shape_gains
from neurosim.random import Stream

_PLAIN: Final = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)


@INITIALISERS.register("torch")
@dataclass(frozen=True)
class Torch(Initialiser):
    """Weights and biases as they are: of a new layer, torch's own."""

    formula = "as it is; torch draws U(−a, a), a = 1/√n_in"
    citation = ()
    kinds = ()

    def weigh(self, target: Target, source: Stream | None) -> None:
        """Nothing to do."""


@INITIALISERS.register("xavier")
@dataclass(frozen=True)
class Xavier(Initialiser):
    """Uniform, between what signals and what gradients ask of a linear network; biases stay, transposed convolutions too.

    Source:
        X. Glorot, Y. Bengio, "Understanding the difficulty of training deep feedforward neural networks", AISTATS 2010, equation 16;
        outputs of grouped convolutions are counted as torch counts them, over all groups.
    """

    formula = "U(−a, a), a = √(6/(n_in + n_out))"
    citation = ("xavier",)
    kinds = _PLAIN

    def weigh(self, target: Target, source: Stream | None) -> None:
        """Uniform weights."""
        weight = target.layer.weight
        taps = weight[0, 0].numel()
        std = math.sqrt(2.0 / float(weight.shape[1] * taps + weight.shape[0] * taps))
        target.put(uniform(weight, math.sqrt(3.0) * std, source))


@INITIALISERS.register("kaiming")
@dataclass(frozen=True)
class Kaiming(Initialiser):
    """Uniform, for layers behind ReLU; biases stay, transposed convolutions too.

    Source:
        K. He, X. Zhang, S. Ren, J. Sun, "Delving deep into rectifiers", ICCV 2015, equation 10.
    """

    formula = "U(−a, a), a = √(6/n_in)"
    citation = ("prelu",)
    kinds = _PLAIN

    def weigh(self, target: Target, source: Stream | None) -> None:
        """Uniform weights."""
        weight = target.layer.weight
        std = math.sqrt(2.0) / math.sqrt(weight[0].numel())
        target.put(uniform(weight, math.sqrt(3.0) * std, source))


@INITIALISERS.register("lecun")
@dataclass(frozen=True)
class LeCun(Initialiser):
    """Normal, for inputs of second moment 1, which SELU gives; biases are 0.

    Source:
        Y. LeCun, L. Bottou, G. B. Orr, K.-R. Müller, "Efficient BackProp", in Neural Networks: Tricks of the Trade, 1998, section 4.6; for
        SELU: G. Klambauer, T. Unterthiner, A. Mayr, S. Hochreiter, "Self-normalizing neural networks", NeurIPS 2017.
    """

    formula = "N(0, 1/n_in)"
    citation = ("lecun_init", "selu")

    def weigh(self, target: Target, source: Stream | None) -> None:
        """Normal weights."""
        target.put(draw(target, 1 / target.fans.inputs, "normal", source))
        bias_of(target, 0.0, source)


@INITIALISERS.register("orthogonal")
@dataclass(frozen=True)
class Orthogonal(Initialiser):
    """Orthonormal rows or columns times a gain: a linear network keeps every length; biases are 0.

    Args:
        gain: > 0.

    Source:
        A. M. Saxe, J. L. McClelland, S. Ganguli, "Exact solutions to the nonlinear dynamics of learning in deep linear neural networks",
        ICLR 2014.
    """

    formula = "gain · Q, QᵀQ = 1 or QQᵀ = 1"
    citation = ("orthogonal_init",)
    gain: float = 1.0

    def __post_init__(self) -> None:
        number("initialiser orthogonal: gain", self.gain, gt=0)

    def weigh(self, target: Target, source: Stream | None) -> None:
        """Orthonormal weights."""
        _, outputs, inputs = target.matrices
        target.put(draw(target, self.gain**2 / max(outputs, inputs), "orthogonal", source))
        bias_of(target, 0.0, source)


@INITIALISERS.register("shaped_batch")
@dataclass(frozen=True)
class ShapedBatch(Initialiser):
    r"""Orthogonal weights, and gains of batch norms that shrink with depth: gradients stay bounded at any depth; biases stay.

    .. math:: W_\ell^\mathsf{T} W_\ell = I, \qquad \gamma_\ell = \ell^{-k}

    What :func:`neurosim.norms.shape_batch_norms` does, for models with batch norms and activations that are smooth at 0.

    Args:
        exponent: k, ≥ 0.

    Source:
        A. Meterez, A. Joudaki, F. Orabona, A. Immer, G. Rätsch, H. Daneshmand, "Towards training without depth limits: batch normalization
        without gradient explosion", ICLR 2024.
    """

    formula = "QᵀQ = 1 or QQᵀ = 1; γ of the ℓ-th batch norm ℓ^−k"
    citation = ("shaped_batch",)
    exponent: float = 0.5

    def __post_init__(self) -> None:
        number("initialiser shaped_batch: exponent", self.exponent, ge=0)

    def weigh(self, target: Target, source: Stream | None) -> None:
        """Orthonormal weights."""
        _, outputs, inputs = target.matrices
        target.put(draw(target, 1 / max(outputs, inputs), "orthogonal", source))

    def settle(self, model: nn.Module, found: Sequence[Target], inputs: Sequence[Tensor]) -> dict[str, Scaling]:
        """Gains of batch norms, in their order."""
        shape_gains(model, self.exponent)
        return {}
