"""Initialisers on the edge of chaos, sparse networks among them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import torch

from neurosim.activations import Activation, Moments, threshold_of
from neurosim.activations import activation as activation_of
from neurosim.checks import number
from neurosim.errors import ConfigError
from neurosim.initialisers.base import INITIALISERS
from neurosim.initialisers.draws import bias_of, draw
from neurosim.initialisers.feeding import Fed, behind_norms, check, fed, given, moments, positive
from neurosim.initialisers.layers import Target
from neurosim.initialisers.normed import Signal
from neurosim.initialisers.sparse import SPARSE, not_negative
from neurosim.initialisers.variance import as_function
from neurosim.random import Stream

_WHERE: Final = "initialiser edge_of_chaos"


@INITIALISERS.register("edge_of_chaos")
@dataclass(frozen=True)
class EdgeOfChaos(Fed):
    r"""Gradients of one size through all layers, and random biases that make up for what the sums then lack.

    .. math:: \sigma_w^2 = \frac{1}{\mathrm E[f'(\sqrt q\,z)^2]}, \qquad
        \sigma_b^2 = q - \sigma_w^2\,\mathrm E[f(\sqrt q\,z)^2] - \sigma_{noise}^2

    Layers that no activation feeds keep the second moment instead. Norms count as ``variance_preserving`` counts them. With ``sparsity`` it
    is the initialisation of sparse networks: their activations get the threshold at which that share of units is 0. Those that clip
    (``crelu``, ``cst``) then train at any depth, those that do not (``shifted_relu``, ``soft_threshold``) only while they are shallow;
    :func:`sparse_init` says by how much.

    Args:
        activation: f of every layer but the first; None: as the model has it.
        variance: q, > 0.
        input_moment: Second moment of what the model is given, > 0.
        noise: Standard deviation of what hardware adds to a sum, in units of the sum, < √q.
        distribution: ``normal``, ``uniform`` or ``orthogonal``.
        sparsity: Share of zeros, in 0 … 1, for which the thresholds of the model's activations are set, none below 0; None leaves them.

    Source:
        S. S. Schoenholz, J. Gilmer, S. Ganguli, J. Sohl-Dickstein, "Deep information propagation", ICLR 2017; I. Price et al., "Deep neural
        network initialization with sparsity inducing activations", ICLR 2024.
    """

    formula = "σ_w² = 1/E[f'²], σ_b² = q − σ_w² E[f²] − σ_noise²"
    citation = ("deep_information", "sparse_init")
    sparsity: float | None = None

    def __post_init__(self) -> None:
        check(_WHERE, self)
        if self.sparsity is not None:
            number(f"{_WHERE}: sparsity", self.sparsity, gt=0, lt=1)
            if self.activation is not None:
                raise ConfigError(f"{_WHERE}: sparsity sets thresholds of the model's own activations, so activation must be left out")
        if self.activation is not None:
            self._variances(moments(as_function(self.activation), self.variance))

    def suits(self, activation: object) -> None:
        """An activation whose sums can have that second moment there; with ``sparsity``, one with a threshold."""
        if self.activation is None:
            choice = given(_WHERE, activation)
            if self.sparsity is not None:
                choice = self._with_threshold(activation_of(choice) if isinstance(choice, str | Mapping) else choice)
            self._variances(moments(as_function(choice), self.variance))

    def weigh(self, target: Target, source: Stream | None) -> None:
        """Weights and a bias, and the threshold of what feeds the layer."""
        if self.sparsity is not None and target.activation is not None:
            self._with_threshold(target.activation, behind_norms(_WHERE, target, self))
        found = fed(_WHERE, target, self)
        if target.source == "input" or (self.activation is None and target.activation is None):
            weight, bias = (self.variance - self.noise**2) / found.second, 0.0
        else:
            weight, bias = self._variances(found)
        if bias and target.layer.bias is None:
            raise ConfigError(f"{_WHERE}: {target.name} must have a bias, of variance {bias:.4g}")
        target.put(draw(target, weight / target.fans.inputs, self.distribution, source))
        bias_of(target, bias, source)

    def _variances(self, found: Moments) -> tuple[float, float]:
        """Of a weight, times the fan-in, and of a bias; what is within the error of the integrals is 0."""
        weight = 1 / positive("gradients", found.slope)
        bias = self.variance - weight * found.second - self.noise**2
        if bias < -1e-6 * self.variance:
            raise ConfigError(
                f"{_WHERE}: E[f²]/E[f'²] and the square of the noise must sum to at most the variance {self.variance:g}, got "
                f"{weight * found.second:.4g} and {self.noise**2:.4g}"
            )
        return weight, bias if bias > 1e-6 * self.variance else 0.0

    def _with_threshold(self, module: object, signal: Signal | None = None) -> Activation:
        """The activation, whose threshold it sets: for sums, or for what norms make of them."""
        if not isinstance(module, Activation) or module.entry.name not in SPARSE or self.sparsity is None:
            got = module.entry.name if isinstance(module, Activation) else type(module).__name__
            raise ConfigError(f"{_WHERE}: sparsity needs an activation with a threshold, {', '.join(SPARSE)}, got {got}")
        symmetric = SPARSE[module.entry.name]
        if signal is None or signal.standard:
            tau = threshold_of(self.sparsity, symmetric=symmetric, variance=self.variance if signal is None else 1.0)
        else:
            tau = signal.threshold(self.sparsity, symmetric=symmetric)
        not_negative(f"{_WHERE}: sparsity", self.sparsity, tau)
        if "tau" in module.fixed:
            module.keep("tau", tau)
        else:
            with torch.no_grad():
                module.get_parameter("tau").copy_(module.entry.parameters["tau"].raw(tau, module.channels))
        return module
