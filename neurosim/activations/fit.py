"""Curves from data: a rational function through a measured one, and the parabola nearest to an activation."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor, nn

from neurosim.activations.base import ACTIVATIONS
from neurosim.activations.facts import facts
from neurosim.activations.moments import gaussian_rule
from neurosim.checks import number, whole
from neurosim.errors import ConfigError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Numbers = NDArray[np.float64]
    Points = Tensor | Numbers | Sequence[float]


class Fit(NamedTuple):
    """A curve through data, and how far it is from them, computed by the module itself, in its precision."""

    module: nn.Module  #: the activation
    rms: float  #: root of the mean squared error at the points, in the unit of y
    largest: float  #: largest error at the points


def fit_activation(x: Points, y: Points, *, numerator: int = 5, denominator: int = 4, learn: bool = True) -> Fit:
    """A rational activation through a measured curve, such as the response of a device.

    Least squares: for given coefficients of the denominator, which stay ≥ 0 so that it has no zeros, those of the numerator are exact; the
    former are searched from several starts. Where the largest |x| is not in 0.01 … 100, as of currents in amperes or detunings in hertz,
    the module divides its input by it: coefficients far from 1 can be neither kept nor learned. Of x far from 0, as of wavelengths in
    nanometres, take off the middle first.

    Args:
        x: Where it was measured, a tensor, an array or a list; at least as many points as coefficients, finite.
        y: What was measured, the same shape.
        numerator: Degree of the numerator, ≥ 1.
        denominator: Degree of the denominator, ≥ 1.
        learn: Whether training goes on to change the curve.

    Raises:
        ConfigError: The points are no numbers, do not go together, or are too few.

    >>> x = torch.linspace(-3, 3, 61)
    >>> fit_activation(x, torch.sin(x).square()).rms < 0.02
    True
    """
    from scipy.optimize import least_squares

    degrees = whole("fit_activation.numerator", numerator, 1, 12), whole("fit_activation.denominator", denominator, 1, 12)
    places, values = _points(x, y, sum(degrees) + 1)
    span = float(abs(places).max())
    scale, size = (1.0, span) if 0.01 <= span <= 100 else (1 / span, 1.0)
    u = places / span
    powers = u[:, None] ** range(degrees[0] + 1)
    sizes = abs(u)[:, None] ** range(1, degrees[1] + 1)

    def solved(below: Numbers) -> tuple[Numbers, Numbers]:
        import numpy as np

        matrix = powers / (1 + sizes @ below)[:, None]
        above = np.asarray(np.linalg.lstsq(matrix, values, rcond=None)[0], dtype=np.float64)
        return above, matrix @ above - values

    def errors(below: Numbers) -> Numbers:
        return solved(below)[1]

    starts = [[0.1] * degrees[1], [1.0] * degrees[1], [float(at == 1) + 0.01 for at in range(degrees[1])], [10.0] * degrees[1]]
    runs = [least_squares(errors, start, bounds=(0, math.inf), x_scale="jac", max_nfev=400) for start in starts]
    below = min(runs, key=lambda run: float(run.cost)).x
    above, _ = solved(below)
    settings: dict[str, Any] = {
        "numerator": [float(one) / size**at for at, one in enumerate(above)],
        "denominator": [float(one) / size**at for at, one in enumerate(below, 1)],
        "scale": scale,
    }
    module: Any = ACTIVATIONS["rational"](learn=["numerator", "denominator"] if learn else False, **settings)
    if scale != 1:
        module.keep("scale", scale)  # weights without it would be those of another curve
    with torch.no_grad():
        error = module(torch.as_tensor(places, dtype=torch.get_default_dtype())).double().numpy() - values
    return Fit(module, float((error**2).mean() ** 0.5), float(abs(error).max()))


def _points(x: Points, y: Points, least: int) -> tuple[Numbers, Numbers]:
    where = "fit_activation"
    first, second = _tensor(f"{where}.x", x), _tensor(f"{where}.y", y)
    if first.shape != second.shape:
        raise ConfigError(f"{where}: x and y must have one shape, got {tuple(first.shape)} and {tuple(second.shape)}")
    places, values = (one.detach().double().flatten().cpu() for one in (first, second))
    if not bool(places.isfinite().all() and values.isfinite().all()):
        raise ConfigError(f"{where}: all points must be finite, got some that are not")
    if (count := len(set(places.tolist()))) < least:
        raise ConfigError(f"{where}: must have at least {least} different points for so many coefficients, got {count}")
    return places.numpy(), values.numpy()


def _tensor(where: str, points: Points) -> Tensor:
    try:
        return points if isinstance(points, Tensor) else torch.tensor(points, dtype=torch.float64)
    except (TypeError, ValueError):
        raise ConfigError(f"{where}: must be numbers in a tensor, an array or a list, got {points!r:.60}") from None


def fit_quadratic(what: object = "relu", *, mean: float = 0.0, variance: float = 1.0) -> dict[str, float]:
    r"""Settings of the parabola that is nearest to an activation for Gaussian inputs.

    .. math:: \min_{a, b, c}\; E_{x \sim N(\mu, q)}\big[(f(x) - a x^2 - b x - c)^2\big]

    The projections on Hermite's polynomials 1, z, z² − 1 of z = (x − µ)/√q are its coefficients.

    Args:
        what: What :func:`facts` takes, a curve.
        mean: µ.
        variance: q > 0.

    Raises:
        ConfigError: It is no curve, or the variance is not above 0.

    Source:
        Of the idea, a parabola fitted to the distribution of the inputs: H. Peng et al., "AutoReP: automatic ReLU replacement for fast
        private network inference", ICCV 2023.

    >>> {name: round(value, 4) for name, value in fit_quadratic().items()}
    {'a': 0.1995, 'b': 0.5, 'c': 0.1995}
    """
    shift, width = number("fit_quadratic.mean", mean), math.sqrt(number("fit_quadratic.variance", variance, gt=0))
    z, weights = gaussian_rule()
    y = facts(what)(shift + width * z).detach()
    h0, h1, h2 = (float((weights * y * one).sum()) for one in (torch.ones_like(z), z, (z.square() - 1) / 2))
    a, b = h2 / width**2, h1 / width
    return {"a": a, "b": b - 2 * a * shift, "c": h0 - h2 - b * shift + a * shift**2}
