"""How much it matters what a layer gives: which layers of a model need more bits than others."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from neurosim.analysis.inputs import check_chip
from neurosim.checks import number, one_of
from neurosim.convert.calibration import Calibration, Samples
from neurosim.convert.report import table
from neurosim.convert.select import as_list, check_globs, matches
from neurosim.errors import ConfigError
from neurosim.nn.answer import answer
from neurosim.nn.modes import evaluation_mode
from neurosim.nn.wrappers import unwrapped
from neurosim.random import Stream, stream

Signs = Literal["random", "same"]
OutputLoss = Callable[[Tensor, Tensor], Tensor]  #: of outputs and of those without the change


@dataclass(frozen=True)
class Importance:
    """The report of :func:`layer_importance`; ``print`` shows it as a table, the most important layer first.

    Args:
        layers: Importance by path, in the order of the model.
        step: By how much outputs were changed.
        samples: How many inputs were looked at.
    """

    layers: dict[str, float]
    step: float
    samples: int

    def ranking(self) -> list[str]:
        """Paths, the most important first."""
        return sorted(self.layers, key=lambda path: -self.layers[path])

    def to_dict(self) -> dict[str, Any]:
        """Plain data: JSON-able."""
        return asdict(self)

    def __str__(self) -> str:
        most = max(self.layers.values(), default=0.0) or 1.0
        rows = [(path or "(model)", f"{self.layers[path]:.3g}", f"{self.layers[path] / most:.2g}") for path in self.ranking()]
        return "\n".join([f"{len(rows)} layers, {self.samples} inputs", *table(("layer", "importance", "relative"), rows)])


def divergence(y: Tensor, reference: Tensor) -> Tensor:
    r"""Kullback–Leibler divergence of class probabilities, :math:`\mathrm{KL}(p_{\mathrm{ref}} \Vert p)`, summed over the samples.

    Args:
        y, reference: Logits, the classes last.
    """
    return F.kl_div(y.log_softmax(-1), reference.log_softmax(-1), reduction="sum", log_target=True)


def layer_importance(
    model: nn.Module,
    loader: Calibration,
    loss: OutputLoss = divergence,
    *,
    layers: str | Sequence[str] | None = None,
    step: float = 1e-6,
    signs: Signs = "random",
    seed: int = 0,
) -> Importance:
    r"""How fast the outputs of a model leave where they were when what a layer gives is changed: for bits where they matter most.

    .. math:: I = \frac{1}{2 \delta} \sum_{\pm}
        \operatorname{mean} \Big| \frac{\partial \mathcal{L}\big(y(h \pm \delta s), y(h)\big)}{\partial h} \Big|

    with h what the layer gives and s the signs of the change. Where the loss is least for equal outputs the derivative is zero without a
    change, and with one it is the second derivative times :math:`\delta s`. The mean is over samples and elements. Computed in float64,
    since the derivative is of the size of the step.

    Args:
        model: Any module that can be copied, in evaluation mode; without randomness, so that both runs differ by the change alone.
        loader: Inputs like those that the model will see: a tensor, or batches that begin with one.
        loss: Of the outputs and the unchanged outputs, a scalar that sums over samples; the divergence of class probabilities by default.
        layers: Globs over the paths of modules; None is every one with a weight that is called, unlike the last product of
            ``nn.MultiheadAttention``, which reads the weight of a module.
        step: δ, > 0.
        signs: ``random``: s is 1 or −1 by chance for each element. ``same``: 1 for all, as published; the last layer of a classifier
            then has no importance, since class probabilities do not change when all logits grow alike.
        seed: Of the random signs.

    Returns:
        The report.

    Raises:
        ConfigError: An argument is out of its domain, a glob names nothing, a layer was not used, or gives something else than a tensor, or
            the loss is no scalar.
        DataError: The model does not take the inputs.

    Source:
        Z. Wu et al., "APHQ-ViT: post-training quantization with average perturbation Hessian based reconstruction for vision transformers",
        CVPR 2025: the average perturbation Hessian. The random signs, and the division by the step, which sets the unit, are ours.

    >>> print(layer_importance(nn.Sequential(nn.Linear(3, 2)), torch.ones(1, 3), lambda y, ref: (y - ref).square().sum()))
    1 layers, 1 inputs
      layer  importance  relative
      0      2           1
    """
    check_chip("layer_importance", model)
    number("layer_importance: step", step, gt=0)
    one_of("layer_importance: signs", signs, ("random", "same"))
    twin = copy.deepcopy(unwrapped(model)).double()
    named = dict(twin.named_modules())
    check_globs("layer_importance: layers", as_list(layers), named, "module")
    chosen = {
        path: module
        for path, module in named.items()
        if (isinstance(getattr(module, "weight", None), Tensor) if layers is None else matches(path, module, layers))
    }
    if not chosen:
        raise ConfigError("layer_importance: the model has no layer with a weight; name others by layers")
    samples = Samples("layer_importance", loader, next((value.device for value in twin.parameters()), torch.device("cpu")))
    totals, counts, seen = dict.fromkeys(chosen, 0.0), dict.fromkeys(chosen, 0), 0
    with evaluation_mode(twin):
        for at, given in enumerate(samples.inputs()):
            x = given.double()
            with torch.no_grad():
                reference = answer("layer_importance", twin, x)
            seen += len(x)
            for path, module in chosen.items():
                source = stream(seed, "importance", path, draw=at) if signs == "random" else None
                for change in (step, -step):
                    slopes = _slopes(twin, module, path, x, reference, loss, change, source)
                    totals[path] += float(sum(slope.abs().sum() for slope in slopes))
                    counts[path] += sum(slope.numel() for slope in slopes)
    idle = [path for path in chosen if not counts[path]]
    if idle and (layers is not None or len(idle) == len(chosen)):
        raise ConfigError(f"layer_importance: {idle[0] or '(model)'} was not used by the model")
    return Importance({path: totals[path] / counts[path] / step for path in chosen if counts[path]}, step, seen)


def _slopes(
    model: nn.Module, module: nn.Module, path: str, x: Tensor, reference: Tensor, loss: OutputLoss, change: float, source: Stream | None
) -> tuple[Tensor, ...]:
    """The derivative of the loss by what a module gives, at each of its uses, with the change; nothing of one that is not called."""
    given: list[Tensor] = []
    with _changed(module, path, change, source, given), torch.enable_grad():
        value: Any = loss(answer("layer_importance", model, x), reference)
        if not given:
            return ()
        if not isinstance(value, Tensor) or value.numel() != 1 or not value.requires_grad:
            got = f"a tensor of shape {tuple(value.shape)}" if isinstance(value, Tensor) and value.numel() != 1 else "none"
            raise ConfigError(f"layer_importance: loss must give a scalar tensor with a gradient, got {got}")
        slopes: tuple[Tensor, ...] = torch.autograd.grad(value, given, allow_unused=True, materialize_grads=True)
        return slopes


def _signs(source: Stream, like: Tensor) -> Tensor:
    return (source.uniform(like.shape, like=like) - 0.5).sign()


@contextmanager
def _changed(module: nn.Module, path: str, change: float, source: Stream | None, given: list[Tensor]) -> Iterator[None]:
    def hook(module: nn.Module, args: Any, y: Any) -> Tensor:
        if not isinstance(y, Tensor):
            raise ConfigError(f"layer_importance: {path or '(model)'} must give a tensor, gives {type(y).__name__}")
        shifted: Tensor = y + change * (1.0 if source is None else _signs(source._replace(call=len(given)), y))
        if not shifted.requires_grad:
            shifted.requires_grad_()
        given.append(shifted)
        return shifted.clone()  # which an activation in place may overwrite

    handle = module.register_forward_hook(hook)
    try:
        yield
    finally:
        handle.remove()
