r"""First weights of excitatory-inhibitory layers, from one batch.

With the mean :math:`\mathrm E[x]`, the mean square :math:`\mathrm E[x^2]` and the variance :math:`\mathrm V[x]` (over samples, averaged
over features) of what reaches a layer of fan-in d, E-I Init draws

.. math::
    W_{EE}, W_{IE} \sim \mathrm{Exp}(\lambda), \quad \lambda = \sqrt{\frac{\mathrm V[x]}{d\,(\mathrm E[x^2] + \mathrm V[x])}}, \qquad
    W_{EI} = \frac{1}{n_I}, \qquad g_I = \frac{\sqrt{\mathrm E[x^2] + \mathrm V[x]}}{\sqrt d\,\mathrm E[x]}, \qquad g_E = 1, \quad b_E = 0

where :math:`\lambda` is the mean. Then excitation and inhibition have one mean, :math:`d\,\lambda\,\mathrm E[x]`, and the mean of the
shunting current is :math:`\sqrt{\mathrm V[x]}`: a layer begins by subtracting a mean and dividing by a standard deviation, and keeps no
statistics.

Source:
    P. Liu, J. Ding, Z. Yu, "Training deep normalization-free spiking neural networks with lateral inhibition", ICLR 2026 (arXiv
    2509.23253), equation 54 for the gain. The variance is unbiased, as in the authors' code (commit 28eec3b).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, Final, NamedTuple, TypeVar

import torch
from torch import Tensor, nn

from neurosim.ei.constraint import layers
from neurosim.errors import ConfigError, nearest
from neurosim.nn.ei_layer import EILayer
from neurosim.random import Stream, stream

Model = TypeVar("Model", bound=nn.Module)


class Moments(NamedTuple):
    """Of what reaches a layer."""

    mean: float
    square: float  #: mean square
    variance: float  #: over samples, unbiased, averaged over features


def initialize(model: Model, *inputs: Any, seed: int, method: str | None = None, fallback: Moments | None = None) -> Model:
    r"""Give the excitatory-inhibitory layers of a model their first weights, in place, in the order in which one forward reaches them.

    Every layer sees what the layers before it, initialised already, make of the batch. The forward runs in evaluation mode and without
    gradients; layers inside time-folding containers see time and batch as one axis. Weights that the layers had are lost.

    Args:
        model: Any module.
        inputs: What the model is called with: a batch of at least two samples of 0 or more (images as intensities in [0, 1], without
            subtracting a mean), moved to the model's device.
        seed: Of the random weights, in [0, 2⁶³); each layer draws from a stream of its own path.
        method: ``"ei"``: E-I Init, as above. ``"kaiming_abs"``: what ordinary initialisation comes to under Dale's law, for comparison: all
            three weights are absolute values of N(0, 2/fan-in), gains 1, biases 0; the batch only tells which layers there are. None: what
            each layer's ``first_weights`` says.
        fallback: What E-I Init is to take for a layer that gets nothing from the batch, or the same from all its samples, as may happen
            without one half of the inhibition: ``Moments(0.5, 0.5, 0.25)`` is what a fair coin would send. None refuses such a batch.

    Returns:
        The same model.

    Raises:
        ConfigError: The model has no such layer, the batch does not reach one, or what reaches one has no variance or values below 0; the
            weights are then as they were.

    >>> from neurosim.nn import EILinear
    >>> model = initialize(EILinear(64, 32), torch.rand(100, 64), seed=0)
    >>> model.initialized, round(model.lateral.weight[0, 0].item(), 4)
    (True, 0.125)
    """
    found = layers(model)
    for name in [layer.first_weights for layer in found.values()] if method is None else [method]:
        if name not in METHODS:
            raise ConfigError(f"initialize.method: no method is named {name!r}{nearest(str(name), METHODS)}")
    if not found:
        raise ConfigError("initialize: the model must have excitatory-inhibitory layers (neurosim.nn.EILinear, EIConv2d), has none")
    wrong = next((one for one in inputs if not isinstance(one, Tensor)), None)
    if not inputs or wrong is not None:
        got = "nothing" if wrong is None else f"a {type(wrong).__name__}"
        raise ConfigError(f"initialize: must be given the tensors that the model is called with, such as the images of a batch, got {got}")
    sources = [stream(seed, path, "ei_init") for path in found]
    place = next(model.parameters()).device
    done: set[str] = set()
    with _undone_on_error(found), _evaluating(model), torch.no_grad(), torch.compiler.set_stance("force_eager"):
        handles = [
            layer.register_forward_pre_hook(
                partial(_on_arrival, path, METHODS[method or layer.first_weights], source, fallback, done), with_kwargs=True
            )
            for (path, layer), source in zip(found.items(), sources, strict=True)
        ]
        try:
            model(*(one.to(place) for one in inputs))
        finally:
            for handle in handles:
                handle.remove()
        missed = [path for path in found if path not in done]
        if missed:
            raise ConfigError(f"initialize: the batch must pass every layer in evaluation mode, did not reach {', '.join(missed)}")
    return model


def exponential(source: Stream, shape: torch.Size, mean: float, *, like: Tensor) -> Tensor:
    r"""Exponential numbers.

    .. math:: w = -\mu \ln u, \qquad u \sim \mathrm U(0, 1)

    Args:
        source: Of the uniform numbers.
        shape: Of the result.
        mean: μ > 0, which is also the standard deviation.
        like: Gives dtype and device.

    Returns:
        Numbers ≥ 0; in float32 none exceeds 17.4 μ.
    """
    return source.uniform(shape, like=like).log() * -mean


_Method = Callable[[EILayer, Callable[[], Moments], Stream], None]  #: gives a layer its weights; the second computes the moments if asked


def _on_arrival(
    path: str,
    method: _Method,
    source: Stream,
    fallback: Moments | None,
    done: set[str],
    layer: EILayer,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
) -> None:
    """A forward pre-hook: the first time that something reaches the layer, it gets its weights."""
    if path not in done:
        x = args[0] if args else kwargs["x"]
        method(layer, partial(_moments, path or type(layer).__name__, x, layer.feature_dims, fallback), source)
        layer.initialized = True
        done.add(path)


def _ei(layer: EILayer, arrived: Callable[[], Moments], source: Stream) -> None:
    moments, fan_in, weights = arrived(), layer.fan_in, layer.weights()
    power = moments.square + moments.variance
    scale = math.sqrt(moments.variance / (fan_in * power))
    for part in ("excitatory", "inhibitory"):
        weights[part].copy_(exponential(source.child(part), weights[part].shape, scale, like=_float32(weights[part])))
    weights["lateral"].fill_(1 / layer.inhibitory_units)
    _plain_gains(layer)
    if layer.gain_i is not None:
        layer.gain_i.fill_(math.sqrt(power / fan_in) / moments.mean)


def _kaiming_abs(layer: EILayer, arrived: Callable[[], Moments], source: Stream) -> None:
    for part, weight in layer.weights().items():
        drawn = source.child(part).normal(weight.shape, like=_float32(weight))
        weight.copy_(drawn.abs() * math.sqrt(2 / weight[0].numel()))
    _plain_gains(layer)


METHODS: Final[dict[str, _Method]] = {"ei": _ei, "kaiming_abs": _kaiming_abs}


def _plain_gains(layer: EILayer) -> None:
    for parameter, value in ((layer.gain_i, 1.0), (layer.gain_e, 1.0), (layer.bias, 0.0)):
        if parameter is not None:
            parameter.fill_(value)


def _moments(where: str, x: Tensor, feature_dims: int, fallback: Moments | None) -> Moments:
    samples = _float32(x).flatten(0, -1 - feature_dims) if x.dim() > feature_dims else _float32(x)[None]
    if len(samples) < 2:
        raise ConfigError(f"initialize: the variance of what reaches {where} needs at least 2 samples (time × batch), got {len(samples)}")
    if bool((samples < 0).any()):
        raise ConfigError(
            f"initialize: what reaches {where} must be 0 or more, got {float(samples.min()):.3g}; give intensities, without subtracting a "
            "mean, and put neurons or rectifiers between the layers"
        )
    moments = Moments(float(samples.mean()), float(samples.square().mean()), float(samples.var(dim=0).mean()))
    if math.isfinite(moments.square) and moments.variance > 0:
        return moments
    if math.isfinite(moments.square) and fallback is not None:
        return fallback
    what = "is silent in all samples" if moments.mean == 0 else f"has mean {moments.mean:.3g} and variance {moments.variance:.3g}"
    raise ConfigError(
        f"initialize: what reaches {where} must be finite and differ between samples, {what}; try a larger batch or more time steps, or "
        "say what to take instead: fallback=neurosim.ei.Moments(0.5, 0.5, 0.25)"
    )


def _float32(x: Tensor) -> Tensor:
    """Statistics and draws in at least 32 bits."""
    return x if x.is_floating_point() and x.dtype.itemsize >= 4 else x.float()


@contextmanager
def _evaluating(model: nn.Module) -> Iterator[None]:
    """Evaluation mode, set without asking the layers whether their weights are ready for it."""
    modes = [(module, module.training) for module in model.modules()]
    try:
        for module, _ in modes:
            module.training = False
        yield
    finally:
        for module, mode in modes:
            module.training = mode


@contextmanager
def _undone_on_error(found: dict[str, EILayer]) -> Iterator[None]:
    """Weights as they were, if something fails."""
    before = [(layer, layer.initialized, [value.detach().clone() for value in layer.parameters()]) for layer in found.values()]
    try:
        yield
    except BaseException:
        with torch.no_grad():
            for layer, initialized, values in before:
                layer.initialized = initialized
                for parameter, value in zip(layer.parameters(), values, strict=True):
                    parameter.copy_(value)
        raise
