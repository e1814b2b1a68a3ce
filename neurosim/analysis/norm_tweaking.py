"""Norm tweaking: scale and shift of norms are trained until what a chip computes has the statistics of the digital model."""

from __future__ import annotations

import copy
import math
from collections.abc import Sized
from typing import Any, Final, TypeVar

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.instancenorm import _InstanceNorm
from tqdm import tqdm

from neurosim.analysis.inputs import check_chip
from neurosim.analysis.observe import watching
from neurosim.checks import number, whole
from neurosim.convert.calibration import Calibration, Samples
from neurosim.convert.draws import get_draws, set_draws
from neurosim.convert.select import analog_layers
from neurosim.errors import ConfigError, RunError
from neurosim.nn.answer import answer
from neurosim.nn.modes import evaluation_mode
from neurosim.nn.wrappers import unwrapped
from neurosim.norms import Norm
from neurosim.random import Stream

Model = TypeVar("Model", bound=nn.Module)
#: axis of the channels of what each norm of torch gives; ours say it themselves
CHANNELS: Final[dict[type[nn.Module], int]] = {
    **{_BatchNorm: 1, _InstanceNorm: 1, nn.GroupNorm: 1},
    **{nn.LayerNorm: -1, nn.RMSNorm: -1},
}


def statistics_distance(y: Tensor, target: Tensor, axis: int) -> Tensor:
    r"""How far the statistics of channels are apart.

    .. math:: \frac{1}{C} \sum_c |\mu_c - \hat\mu_c| + |\sigma_c^2 - \hat\sigma_c^2|

    Args:
        y, target: The same shape; statistics are over all axes but one.
        axis: That of the channels.

    Returns:
        A number ≥ 0, differentiable in ``y``.

    Source:
        L. Li et al., "Norm Tweaking: high-performance low-bit quantization of large language models", AAAI 2024: the channel-wise
        distribution loss.

    >>> statistics_distance(torch.tensor([[1.0, 2.0], [3.0, 2.0]]), torch.tensor([[0.0, 2.0], [0.0, 2.0]]), 1)
    tensor(1.5000)
    """
    over = [one for one in range(y.dim()) if one != axis % y.dim()]
    if not over:
        return (y - target).abs().mean()
    (mean, var), (wanted_mean, wanted_var) = ((one.mean(over), one.var(over, correction=0)) for one in (y, target))
    return (mean - wanted_mean).abs().mean() + (var - wanted_var).abs().mean()


def tweak_norms(
    model: Model,
    loader: Calibration,
    *,
    reference: nn.Module | None = None,
    epochs: int = 20,
    lr: float = 0.05,
    stream: Stream | None = None,
    inplace: bool = False,
) -> Model:
    r"""A copy of a model on hardware whose norms have a scale and a shift with which it has the statistics of the digital model.

    Weights stay what the chip holds. Only γ and β of norms are trained, without labels, so that what each norm gives, and what the model
    gives, has the mean and variance of the digital model in every channel, batch by batch. It works for norms that have no running
    statistics as well, such as LayerNorm.

    Args:
        model: With norms that have a scale or a shift; in evaluation, through its noise.
        loader: Batches of inputs; a tensor or batches that begin with one.
        reference: The model whose statistics are wanted; None is ``model`` without the simulation of its hardware.
        epochs: Passes over the loader, > 0.
        lr: Step of Adam at the beginning, > 0; it falls to 0 along half a cosine.
        stream: For models that take one: batch n is run with draw n of it.
        inplace: Change ``model`` itself.

    Returns:
        The model. The noise counters are where they were.

    Raises:
        ConfigError: There is no such norm, nothing to compare with, or a setting is out of its domain; ``model`` is then unchanged.
        DataError: The model does not take the inputs; likewise.
        RunError: The distance became infinite or NaN; likewise.

    Source:
        L. Li et al., "Norm Tweaking: high-performance low-bit quantization of large language models", AAAI 2024, algorithm 1, here for all
        norms at once.
    """
    check_chip("tweak_norms", model, stream)
    if reference is not None:
        check_chip("tweak_norms: reference", reference)
    epochs, lr = whole("tweak_norms: epochs", epochs, 1), number("tweak_norms: lr", lr, gt=0)
    tuned, wanted = copy.deepcopy(unwrapped(model)), copy.deepcopy(unwrapped(model if reference is None else reference))
    axes = _norms(tuned)
    parameters = [value for path in axes for value in tuned.get_submodule(path).parameters(recurse=False)]
    if not parameters:
        raise ConfigError("tweak_norms: the model has no norm with a scale or a shift")
    if reference is None:
        if not analog_layers(wanted):
            raise ConfigError("tweak_norms: the model has no layer on hardware: give the reference whose statistics are wanted")
        for layer in analog_layers(wanted).values():
            layer.chain.modes = dict.fromkeys(layer.chain.modes, "ideal")
    missing = [path for path in axes if path not in dict(wanted.named_modules())]
    if missing:
        raise ConfigError(f"tweak_norms: the reference has no {missing[0]!r}, which is a norm of the model")
    for value in parameters:
        value.requires_grad_(True)
    samples = Samples("tweak_norms", loader, parameters[0].device)
    optimizer = torch.optim.Adam(parameters, lr=lr)
    per_epoch = sum(1 for _ in samples.inputs())
    bar = tqdm(desc="tweak norms", unit="batch", total=epochs * per_epoch if isinstance(loader, Sized) else None, delay=2)
    with bar, evaluation_mode(tuned), evaluation_mode(wanted):
        for epoch in range(epochs):
            for at, x in enumerate(samples.inputs()):
                step = epoch * per_epoch + at
                optimizer.param_groups[0]["lr"] = lr * 0.5 * (1 + math.cos(math.pi * step / (epochs * per_epoch)))
                with torch.no_grad():
                    target = _outputs(wanted, axes, x, stream, at)
                found = _outputs(tuned, axes, x, stream, at)
                loss = torch.stack(
                    [statistics_distance(found[path], target[path], axis) for path, axis in {**axes, "": -1}.items() if path in found]
                ).sum()
                if not bool(loss.isfinite()):
                    raise RunError(f"tweak_norms: the distance of statistics is {float(loss.detach())} after {step} steps; try a lower lr")
                for value, gradient in zip(parameters, torch.autograd.grad(loss, parameters, allow_unused=True), strict=True):
                    value.grad = gradient
                optimizer.step()
                bar.update()
    target_model = model if inplace else copy.deepcopy(model)
    draws = get_draws(target_model)
    norms = unwrapped(target_model)
    with torch.no_grad():
        for path in axes:
            new = dict(tuned.get_submodule(path).named_parameters(recurse=False))
            for name, value in norms.get_submodule(path).named_parameters(recurse=False):
                value.copy_(new[name])
    set_draws(target_model, draws)
    return target_model


def _norms(model: nn.Module) -> dict[str, int]:
    """The norms with parameters of their own, by path, and the axis of their channels."""
    found = {}
    for path, module in model.named_modules():
        of_torch = next((CHANNELS[kind] for kind in CHANNELS if isinstance(module, kind)), None)
        axis = module.channel_axis if isinstance(module, Norm) else of_torch
        if axis is not None and next(module.parameters(recurse=False), None) is not None:
            found[path] = axis
    return found


class _Outputs:
    """Watches norms, and keeps what each gave last."""

    def __init__(self, paths: dict[int, str]) -> None:
        self.paths = paths
        self.found: dict[str, Tensor] = {}

    def wants_membrane(self, module: nn.Module) -> bool:
        return False

    def enter(self, module: nn.Module, x: Any) -> None:
        pass

    def leave(self, module: nn.Module, result: Any, membrane: Tensor | None) -> None:
        self.found[self.paths[id(module)]] = result


def _outputs(model: nn.Module, norms: dict[str, int], x: Tensor, stream: Stream | None, draw: int) -> dict[str, Tensor]:
    """What every norm gives, and the model (``""``)."""
    modules = {path: model.get_submodule(path) for path in norms}
    seen = _Outputs({id(module): path for path, module in modules.items()})
    with watching(modules.values(), seen):
        y = answer("tweak_norms", model, x, **({} if stream is None else {"stream": stream._replace(draw=draw)}))
    if not isinstance(y, Tensor):
        raise ConfigError(f"tweak_norms: the model must give a tensor, got {type(y).__name__}")
    return {**seen.found, "": y}
