"""How much the noise of hardware upsets the slopes of a model's activations, which is what gradients are made of."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn

from neurosim.activations import facts, identify
from neurosim.activations.base import Curve
from neurosim.activations.moments import FINEST, values_and_slopes
from neurosim.analysis.inputs import check_chip
from neurosim.checks import whole
from neurosim.convert.calibration import Calibration, Samples
from neurosim.convert.control import noise
from neurosim.convert.report import table
from neurosim.convert.select import analog_layers
from neurosim.convert.swap_activation import activations_of
from neurosim.errors import ConfigError
from neurosim.nn.answer import answer
from neurosim.nn.modes import evaluation_mode
from neurosim.nn.wrappers import unwrapped


@dataclass(frozen=True)
class LayerSlopeNoise:
    """One activation.

    Args:
        path: Of the module.
        sigma: Root mean square of what noise adds to its inputs.
        variance: Mean square of its inputs without noise.
        measured: Mean squared change of its slope by the noise.
        predicted: The same of Gaussian inputs of that variance and Gaussian noise of that σ, by quadrature; None where it is no curve
            of the catalogue, or the noise is beyond the quadrature (10⁻³ to 10³ of the signal).
    """

    path: str
    sigma: float
    variance: float
    measured: float
    predicted: float | None


@dataclass(frozen=True)
class SlopeNoise:
    """The report of :func:`slope_noise`; ``print`` shows it as a table.

    Args:
        layers: One entry for every activation, in the order of the model.
        samples: How many inputs were looked at.
        draws: How many times each.
    """

    layers: tuple[LayerSlopeNoise, ...]
    samples: int
    draws: int

    @property
    def measured(self) -> float:
        """Mean over the activations."""
        return math.fsum(one.measured for one in self.layers) / len(self.layers)

    @property
    def predicted(self) -> float | None:
        """Mean over the activations; None where one has none."""
        known = [one.predicted for one in self.layers if one.predicted is not None]
        return math.fsum(known) / len(known) if len(known) == len(self.layers) else None

    def to_dict(self) -> dict[str, Any]:
        """Plain data: JSON-able."""
        return asdict(self)

    def __str__(self) -> str:
        rows = [
            (one.path or "(model)", *(f"{value:.3g}" for value in (one.sigma, one.variance**0.5, one.measured)), _shown(one.predicted))
            for one in self.layers
        ]
        head = f"slopes of {len(rows)} activations, {self.samples} inputs, {self.draws} draws of the noise"
        return "\n".join([head, *table(("activation", "noise", "signal", "change of slope²", "predicted"), rows)])


def slope_noise(model: nn.Module, loader: Calibration, *, draws: int = 4) -> SlopeNoise:
    r"""How much the noise of a model's hardware changes the slopes of its activations, measured and predicted.

    .. math:: \operatorname{mean}\big(f'(\tilde x) - f'(x)\big)^2 \quad\text{beside}\quad
        E_{x, \eta}\big[(f'(x + \eta) - f'(x))^2\big],\; x \sim N(0, \overline{x^2}),\; \eta \sim N(0, \overline{(\tilde x - x)^2})

    with x what an activation is given without noise (levels and limits of the hardware stay) and x̃ with it. The backward pass multiplies
    by these slopes, so their change is an error of the gradient that no loss sees. A ReLU's slope jumps at 0; that of a smooth curve
    changes by as much as x does.

    Args:
        model: Converted to hardware. It is not changed, and its noise goes on afterwards where it stood. Activations that look at
            several numbers at once, such as top-k, or draw at random themselves, have no such slope and are left out.
        loader: Inputs like those that the model will see: a tensor, or batches that begin with one.
        draws: How many times each input is run with fresh noise, ≥ 1.

    Returns:
        The report.

    Raises:
        ConfigError: ``model`` is not on hardware, has no activation that works element by element, or the loader has no data.
        DataError: The model does not take the inputs.

    Source:
        V. Shah, N. Youngblood, "Leveraging continuously differentiable activation functions for learning in quantized noisy environments",
        IEEE JSTQE 2025: gradients with and without noise.

    >>> model = nn.Sequential(nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 2))
    >>> import neurosim as ns
    >>> chip = ns.to_analog(model, "photonic_avnn", seed=0)
    >>> found = slope_noise(chip, torch.ones(16, 8))
    >>> found.layers[0].path, found.layers[0].measured > 0
    ('1', True)
    """
    check_chip("slope_noise", model)
    whole("slope_noise: draws", draws, 1)
    if not analog_layers(model):
        raise ConfigError("slope_noise: model must be on hardware, is digital: convert it with ns.to_analog first")
    twin = copy.deepcopy(unwrapped(model))
    places = {path: module for path, module in activations_of(twin) if getattr(identify(module), "kind", "") in ("curve", "wrapper")}
    if not places:
        raise ConfigError("slope_noise: the model must have an activation that works element by element, has none")
    samples = Samples("slope_noise", loader, next((value.device for value in twin.parameters()), torch.device("cpu")))
    sums = {path: _Sums() for path in places}
    seen = 0
    with evaluation_mode(twin):
        for x in samples.inputs():
            seen += len(x)
            with noise("off", twin):
                clean = _given(twin, places, x)
            for _ in range(draws):
                noisy = _given(twin, places, x)
                for path, module in places.items():
                    sums[path].add(module, clean[path], noisy[path])
    used = {path: one for path, one in sums.items() if one.elements}
    if not used:
        raise ConfigError("slope_noise: the model must use its activations, none was run")
    return SlopeNoise(tuple(_report(path, places[path], one) for path, one in used.items()), seen, draws)


class _Sums:
    """Squares over all inputs of one activation."""

    def __init__(self) -> None:
        self.elements = 0
        self.signal = self.noise = self.slope = 0.0

    def add(self, module: nn.Module, clean: list[Tensor], noisy: list[Tensor]) -> None:
        for x, other in zip(clean, noisy, strict=True):
            change = _slope(module, other) - _slope(module, x)
            self.elements += x.numel()
            self.signal += float(x.double().square().sum())
            self.noise += float((other - x).double().square().sum())
            self.slope += float(change.double().square().sum())


def _slope(module: nn.Module, x: Tensor) -> Tensor:
    return values_and_slopes(lambda place: module(place.clone()), x)[1]  # which a module may overwrite


def _given(model: nn.Module, places: Mapping[str, nn.Module], x: Tensor) -> dict[str, list[Tensor]]:
    """What each activation is given, use by use."""
    found: dict[str, list[Tensor]] = {path: [] for path in places}

    def listener(path: str) -> Any:
        return lambda module, args: found[path].append(args[0].detach().clone())

    with torch.no_grad(), ExitStack() as stack:
        for path, module in places.items():
            stack.callback(module.register_forward_pre_hook(listener(path)).remove)
        answer("slope_noise", model, x)
    return found


def _report(path: str, module: nn.Module, sums: _Sums) -> LayerSlopeNoise:
    sigma, variance = (math.sqrt(sums.noise / sums.elements), sums.signal / sums.elements)
    return LayerSlopeNoise(path, sigma, variance, sums.slope / sums.elements, _predicted(module, sigma, variance))


def _predicted(module: nn.Module, sigma: float, variance: float) -> float | None:
    if not isinstance(identify(module), Curve):
        return None
    if sigma == 0:
        return 0.0
    if not sigma / FINEST <= math.sqrt(variance) <= sigma * FINEST:
        return None  # of a quadrature that would need too many places
    return facts(module).gradient_noise(sigma, variance=variance)


def _shown(value: float | None) -> str:
    return "–" if value is None else f"{value:.3g}"
