"""Initialisers that keep the second moment of sums, or of gradients, through the activations of a model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, Literal, get_args

from neurosim.activations import Moments
from neurosim.checks import number, one_of
from neurosim.initialisers.base import INITIALISERS, Initialiser
from neurosim.initialisers.draws import bias_of, draw
from neurosim.initialisers.feeding import Fed, check, fed, function_before, given, moments, positive
from neurosim.initialisers.layers import Target
from neurosim.initialisers.variance import as_function, kumar_variance
from neurosim.random import Stream

Mode = Literal["forward", "backward", "both"]
_VARIANCE: Final = "initialiser variance_preserving"
_KUMAR: Final = "initialiser kumar"


@INITIALISERS.register("variance_preserving")
@dataclass(frozen=True)
class VariancePreserving(Fed):
    r"""Sums of one second moment through all layers, for any activation, with the noise and the clamps of hardware; biases are 0.

    .. math:: \mathrm{Var}\,W = \frac{q - \sigma_{noise}^2}{n_{in}\,\mathrm E[g(\sqrt q\,z)^2]}, \qquad
        g(x) = \mathrm{clip}_{i}\big(f(\mathrm{clip}_{o}(x))\big)

    A layer behind another is fed its sums, f(x) = x; the first one the inputs. Norms between two layers belong to g: those that give
    N(0, 1) put it in the place of √q z, of others a copy in training is run on Gaussian sums. Norms before neurons do not count.

    Args:
        activation: f of every layer but the first, behind the norms of the model: a name in ``ACTIVATIONS``, ``kind`` and parameters, or in
            Python a function; None: as the model has it.
        variance: q, > 0.
        input_moment: Second moment of what the model is given, > 0.
        noise: Standard deviation of what hardware adds to a sum, in units of the sum, < √q.
        distribution: ``normal``, ``uniform`` or ``orthogonal``.
        mode: ``forward`` keeps signals, ``backward`` gradients, 1/(n_out E[g'²]), and ``both`` takes the harmonic mean of the two
            variances, which for linear networks is Glorot's.
        input_limit: Largest magnitude that a layer's inputs are converted to, > 0; None: no limit.
        output_limit: Largest magnitude that a layer's sums are read as, > 0; None: no limit.

    Source:
        C. Hewa Koneputugodage, Y. Ben-Shabat, S. Ramasinghe, S. Gould, "VI3NR: variance informed initialization for implicit neural
        representations", CVPR 2025; K. He, X. Zhang, S. Ren, J. Sun, "Delving deep into rectifiers", ICCV 2015, section 2.2.
    """

    formula = "Var W = (q − σ_noise²)/(n_in E[f(√q z)²])"
    citation = ("vi3nr", "prelu")
    mode: Mode = "forward"
    input_limit: float | None = None
    output_limit: float | None = None

    def __post_init__(self) -> None:
        check(_VARIANCE, self)
        one_of(f"{_VARIANCE}: mode", self.mode, get_args(Mode))
        for name in ("input_limit", "output_limit"):
            if getattr(self, name) is not None:
                number(f"{_VARIANCE}: {name}", getattr(self, name), gt=0)
        if self.activation is not None:
            self._try(self.activation)

    def suits(self, activation: object) -> None:
        """An activation that is a function of one number and lets signals, or gradients, through."""
        if self.activation is None:
            self._try(given(_VARIANCE, activation))

    def weigh(self, target: Target, source: Stream | None) -> None:
        """Weights whose variance keeps that of the sums, and a bias of 0."""
        found = fed(_VARIANCE, target, self, self.input_limit, self.output_limit)
        forward, backward = self._sizes(found)
        variance = 0.0
        if self.mode != "backward":
            variance = (self.variance - self.noise**2) / (target.fans.inputs * forward)
        if self.mode != "forward":
            of_gradients = 1 / (target.fans.outputs * backward)
            variance = of_gradients if self.mode == "backward" else 2 / (1 / variance + 1 / of_gradients)
        target.put(draw(target, variance, self.distribution, source))
        bias_of(target, 0.0, source)

    def _try(self, activation: object) -> None:
        self._sizes(moments(as_function(activation), self.variance, self.input_limit, self.output_limit))

    def _sizes(self, found: Moments) -> tuple[float, float]:
        """Mean squares of values and of gradients, both more than 0 as far as the mode needs them."""
        values = found.second if self.mode == "backward" else positive("values", found.second)
        return values, found.slope if self.mode == "forward" else positive("gradients", found.slope)


@INITIALISERS.register("kumar")
@dataclass(frozen=True)
class Kumar(Initialiser):
    """Normal, for an activation that is taken for its tangent at 0; biases are 0.

    Args:
        activation: f of every layer but the first; None: as the model has it.

    Source:
        S. K. Kumar, "On weight initialization in deep neural networks", 2017 (arXiv 1704.08863).
    """

    formula = "N(0, 1/(n_in f'(0)² (1 + f(0)²)))"
    citation = ("kumar_init",)
    looks_back = True
    activation: Any = None

    def __post_init__(self) -> None:
        if self.activation is not None:
            kumar_variance(self.activation, 1)

    def suits(self, activation: object) -> None:
        """An activation that is differentiable at 0."""
        if self.activation is None:
            kumar_variance(given(_KUMAR, activation), 1)

    def weigh(self, target: Target, source: Stream | None) -> None:
        """Normal weights, and a bias of 0."""
        function = function_before(_KUMAR, target, self.activation)
        target.put(draw(target, kumar_variance(function, target.fans.inputs), "normal", source))
        bias_of(target, 0.0, source)
