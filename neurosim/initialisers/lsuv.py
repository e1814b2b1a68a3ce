"""Layer by layer, weights are scaled until what a layer gives of a batch has one variance: through the hardware, where there is some."""

from __future__ import annotations

import contextlib
import math
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

import torch
from torch import Tensor, nn

from neurosim.checks import number, whole
from neurosim.convert.control import noise
from neurosim.convert.draws import get_draws, set_draws
from neurosim.convert.select import analog_layers
from neurosim.errors import ConfigError
from neurosim.initialisers.base import INITIALISERS, Initialiser, Scaling
from neurosim.initialisers.draws import bias_of, draw
from neurosim.initialisers.layers import Target
from neurosim.nn.answer import answer
from neurosim.nn.modes import evaluation_mode, fresh_casts
from neurosim.norms.placing import weight_scaler
from neurosim.random import Stream

_WHERE: Final = "initialiser lsuv"


@INITIALISERS.register("lsuv")
@dataclass(frozen=True)
class LSUV(Initialiser):
    r"""Orthonormal weights, then every layer in turn scaled until what it gives of a batch has the wanted variance; biases are 0.

    .. math:: W \leftarrow W \sqrt{v / \mathrm{Var}(y)} \quad\text{until}\quad |\mathrm{Var}(y) - v| < tol \cdot v

    y is what the layer gives: on simulated hardware with its converters, limits, errors and, with ``noise``, its noise, which no digital
    formula knows. All of it runs in one forward, in evaluation mode; a layer that is used several times is scaled for its first use. Where
    the hardware limits or drowns a layer, no scale may reach the variance: the one that came closest is taken, and the report says so. It
    says so too of weights whose parametrization keeps no scale, such as weight conditioning; standardised weights have gains for that.

    Args:
        variance: v, of what every layer gives, over batch and units, > 0; for hardware that reads sums of at most 1, take 0.1 or so.
        tol: How close is close enough, as a share of v, > 0.
        iterations: Most steps per layer, > 0.
        noise: Whether noise of the hardware is drawn; frozen errors and limits are there in any case.
        orthonormal: Whether weights are drawn anew first, and biases set to 0; false scales those that there are.

    Source:
        D. Mishkin, J. Matas, "All you need is a good init", ICLR 2016, algorithm 1; there v = 1, and y of digital layers.
    """

    formula = "W ← W √(v/Var y), layer by layer, on a batch"
    citation = ("lsuv",)
    needs_data = True
    variance: float = 1.0
    tol: float = 0.01
    iterations: int = 10
    noise: bool = True
    orthonormal: bool = True

    def __post_init__(self) -> None:
        number(f"{_WHERE}: variance", self.variance, gt=0)
        number(f"{_WHERE}: tol", self.tol, gt=0)
        whole(f"{_WHERE}: iterations", self.iterations, 1)
        for name in ("noise", "orthonormal"):
            if not isinstance(getattr(self, name), bool):
                raise ConfigError(f"{_WHERE}: {name} must be true or false, got {getattr(self, name)!r:.60}")

    def weigh(self, target: Target, source: Stream | None) -> None:
        """Orthonormal rows or columns, whichever there are fewer of, and a bias of 0."""
        if self.orthonormal:
            target.put(draw(target, 1 / max(target.matrices[1:]), "orthogonal", source))
            bias_of(target, 0.0, source)

    def settle(self, model: nn.Module, found: Sequence[Target], inputs: Sequence[Tensor]) -> dict[str, Scaling]:
        """Scale every layer as the batch reaches it."""
        done: dict[str, Scaling] = {}
        handles = [target.layer.register_forward_pre_hook(partial(self._arrived, target, done), with_kwargs=True) for target in found]
        try:
            with _one_forward(model, self.noise):
                answer(_WHERE, model, *inputs)
        finally:
            for handle in handles:
                handle.remove()
        missed = [target.name for target in found if target.path not in done]
        if missed:
            raise ConfigError(f"{_WHERE}: the batch must pass every layer, did not reach {', '.join(missed)}; leave them out with layers")
        return done

    def _arrived(self, target: Target, done: dict[str, Scaling], layer: nn.Module, args: Any, kwargs: Any) -> None:
        if target.path not in done:
            done[target.path] = self._scale(target, partial(layer.forward, *args, **kwargs))

    def _scale(self, target: Target, forward: Any) -> Scaling:
        put = weight_scaler(f"initialize: {target.name}", target.layer)
        before = seen = self._variance(target, forward())
        best, factor, kept, steps = seen, 1.0, 1.0, 0
        while abs(best - self.variance) >= self.tol * self.variance and steps < self.iterations:
            factor *= math.sqrt(self.variance / seen)
            put(factor)
            last, seen = seen, self._variance(target, forward())
            steps += 1
            if math.isclose(last, seen, rel_tol=1e-6):  # a scale changes nothing: there is none, or a limit is reached
                break
            if abs(seen - self.variance) < abs(best - self.variance):
                best, kept = seen, factor
        if kept != factor:
            put(kept)
        return Scaling(before, best, steps, kept, abs(best - self.variance) < self.tol * self.variance)

    def _variance(self, target: Target, y: Tensor) -> float:
        found = float(y.detach().double().var(correction=0)) if y.numel() else math.nan
        if not (math.isfinite(found) and found > 0):
            raise ConfigError(
                f"{_WHERE}: what {target.name} gives of the batch must be finite and not constant, got variance {found:g}; try a larger "
                "batch, or another input range"
            )
        return found


@contextlib.contextmanager
def _one_forward(model: nn.Module, noisy: bool) -> Iterator[None]:
    """A forward that leaves no trace: in evaluation mode, without gradients, noise counters afterwards as they were."""
    draws = get_draws(model)
    quiet = noise("off", model) if analog_layers(model) and not noisy else contextlib.nullcontext()
    compiled = "torch._dynamo" in sys.modules  # whose import takes seconds, and without which nothing is compiled
    eager = torch.compiler.set_stance("force_eager") if compiled else contextlib.nullcontext()
    try:
        with evaluation_mode(model), quiet, torch.no_grad(), fresh_casts(), eager:
            yield
    finally:
        set_draws(model, draws)
