"""Other activations in a trained model, one place after another, each followed by learning from the model as it was."""

from __future__ import annotations

import copy
import math
from collections.abc import Sized
from dataclasses import asdict, dataclass
from typing import Any, Literal, TypeVar, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from tqdm import tqdm

from neurosim.activations import check_activation
from neurosim.analysis.inputs import check_chip
from neurosim.checks import number, one_of, whole
from neurosim.convert.calibration import Calibration, Samples
from neurosim.convert.report import table
from neurosim.convert.select import Selection, as_list, check_globs, matches
from neurosim.convert.swap_activation import activations_of, swap_activation
from neurosim.errors import ConfigError, RunError
from neurosim.nn.answer import answer
from neurosim.nn.modes import evaluation_mode, fresh_casts
from neurosim.nn.wrappers import unwrapped
from neurosim.random import Stream

Model = TypeVar("Model", bound=nn.Module)
Schedule = Literal["iterative", "at_once"]


@dataclass(frozen=True)
class DistilledStage:
    """What follows one replacement.

    Args:
        activations: The places in which there is another activation now.
        before: Distance from the teacher right after the replacement, :func:`neurosim.analysis.distillation_loss`.
        after: The same after learning.
    """

    activations: tuple[str, ...]
    before: float
    after: float


@dataclass(frozen=True)
class DistilledSwap:
    """The report that :func:`neurosim.distill_swap` leaves at ``model.distilled_swap``; ``print`` shows it as a table."""

    stages: tuple[DistilledStage, ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain data: JSON-able."""
        return asdict(self)

    def __str__(self) -> str:
        count = sum(len(one.activations) for one in self.stages)
        head = f"{count} activations swapped in {len(self.stages)} stages"
        rows = [(", ".join(path or "(model)" for path in one.activations), f"{one.before:.4g}", f"{one.after:.4g}") for one in self.stages]
        return "\n".join([head, *table(("activations", "loss before", "loss after"), rows)])


def distillation_loss(outputs: Tensor, teacher: Tensor, temperature: float = 2.0) -> Tensor:
    r"""How far the probabilities of two classifiers are apart, softened.

    .. math:: L = T^2\, \mathrm{KL}\big(\mathrm{softmax}(z_t / T)\,\|\,\mathrm{softmax}(z / T)\big), \quad \text{mean over samples}

    Args:
        outputs: z, logits, classes on the last axis.
        teacher: z_t, likewise.
        temperature: T > 0.

    Returns:
        A scalar, differentiable in both.

    Source:
        G. Hinton, O. Vinyals, J. Dean, "Distilling the knowledge in a neural network", arXiv 1503.02531 (2015), section 2.

    >>> distillation_loss(torch.tensor([[1.0, 2.0]]), torch.tensor([[1.0, 2.0]]))
    tensor(0.)
    """
    heat = number("distillation_loss: temperature", temperature, gt=0)
    wanted, found = (F.log_softmax(one.reshape(-1, one.shape[-1]) / heat, -1) for one in (teacher, outputs))
    return heat**2 * F.kl_div(found, wanted, reduction="batchmean", log_target=True)


def swapped_by(places: int, schedule: Schedule, progress: float) -> int:
    """In how many places the activation is another one when a share of the budget is spent.

    >>> [swapped_by(3, "iterative", share) for share in (0.0, 0.3, 0.4, 0.9)], swapped_by(3, "at_once", 0.0)
    ([1, 1, 2, 3], 3)
    """
    return places if schedule == "at_once" else min(places, 1 + math.floor(progress * places + 1e-9))


def distill_swap(
    model: Model,
    name: object,
    loader: Calibration,
    *,
    layers: Selection = None,
    schedule: Schedule = "iterative",
    order: Literal["forward", "backward"] = "forward",
    teacher: Literal["original", "previous"] = "original",
    epochs: int = 10,
    lr: float = 1e-3,
    temperature: float = 2.0,
    labels: float = 0.0,
    stream: Stream | None = None,
    inplace: bool = False,
    **settings: Any,
) -> Model:
    """A copy of a trained classifier with other activations, which has learned to give what it gave before; labels are not needed.

    One place after another gets the new activation, and after each the whole model learns from the outputs of the teacher. The passes over
    the data are divided evenly over the places, so that ``at_once``, which replaces all and then learns, costs the same. Dropout is off and
    norms keep their statistics (:func:`neurosim.recalibrate` takes them anew). It is done in one go; the recipe ``distill`` does the same
    with labels, checkpoints and a test.

    Args:
        model: A classifier that gives logits, classes on the last axis; in evaluation, through its noise if it has any.
        name: What :func:`neurosim.swap_activation` takes.
        loader: Batches of inputs; a tensor or batches that begin with one.
        layers: Which activations: globs over their paths, or types; None for all.
        schedule: ``iterative`` or ``at_once``.
        order: From the input on, or from the output back.
        teacher: The model as it was, or as it was before each replacement.
        epochs: Passes over the data in all, > 0.
        lr: Step of Adam at the beginning of a stage, > 0; it falls to 0 along half a cosine.
        temperature: Of :func:`neurosim.analysis.distillation_loss`, > 0.
        labels: Weight of the cross entropy with labels, in 0 … 1, for batches that are pairs; the rest is that of the teacher.
        stream: For models that take one: batch n is run with draw n of it.
        inplace: Change ``model`` itself.
        settings: Parameters of the activation.

    Returns:
        The model, with the report at ``model.distilled_swap``.

    Raises:
        ConfigError: An argument is out of its domain, the model has no such activation or nothing to be trained, or gives no tensor.
        DataError: The model does not take the inputs.
        RunError: The loss became infinite or NaN. ``model`` is unchanged, as after every error.

    Source:
        M. Tayaranian et al., "Faster inference of integer SWIN transformer by removing the GELU activation", arXiv 2402.01169 (2024).
    """
    where = "distill_swap"
    check_chip(where, model, stream)
    one_of(f"{where}: schedule", schedule, get_args(Schedule))
    one_of(f"{where}: order", order, ("forward", "backward"))
    one_of(f"{where}: teacher", teacher, ("original", "previous"))
    epochs, lr = whole(f"{where}: epochs", epochs, 1), number(f"{where}: lr", lr, gt=0)
    heat = number(f"{where}: temperature", temperature, gt=0)
    if number(f"{where}: labels", labels, ge=0) > 1:
        raise ConfigError(f"{where}: labels must be at most 1, got {labels:g}")
    check_activation(choice := {**(name if isinstance(name, dict) else {"kind": name}), **settings})
    student, before = copy.deepcopy(unwrapped(model)), copy.deepcopy(unwrapped(model))
    places = _places(student, layers, order)
    trained = [value for value in student.parameters() if value.requires_grad]
    if not trained:
        raise ConfigError(f"{where}: the model must have parameters that require a gradient, has none")
    samples = Samples(where, loader, trained[0].device)
    per_epoch = sum(1 for _ in samples.inputs())
    total, step, done = epochs * per_epoch, 0, 0
    optimizer = torch.optim.Adam(trained, lr=lr)
    parts = len(places) if schedule == "iterative" else 1
    run = _Run(stream)
    stages: list[DistilledStage] = []
    bar = tqdm(desc="distill", unit="batch", total=total if isinstance(loader, Sized) else None, delay=2, dynamic_ncols=True)
    with bar, evaluation_mode(student), evaluation_mode(before), fresh_casts():
        for _ in range(epochs):
            for at, (x, told) in enumerate(samples.batches()):
                count = swapped_by(len(places), schedule, step / total)
                if count > done:
                    if done:
                        stages[-1] = run.closed(stages[-1], student, before, samples, heat)
                    if teacher == "previous":
                        before = copy.deepcopy(student)
                    student = swap_activation(student, choice, layers=places[done:count], inplace=True)
                    known = {id(value) for group in optimizer.param_groups for value in group["params"]}
                    if new := [value for value in student.parameters() if value.requires_grad and id(value) not in known]:
                        optimizer.add_param_group({"params": new})
                    stages.append(DistilledStage(tuple(places[done:count]), run.loss(student, before, samples, heat), math.nan))
                    done = count
                spent = step / total * parts % 1  # of this stage
                for group in optimizer.param_groups:
                    group["lr"] = lr * 0.5 * (1 + math.cos(math.pi * spent))
                with torch.no_grad():
                    wanted = run(before, x, at)
                outputs = run(student, x, at)
                loss = (1 - labels) * distillation_loss(outputs, wanted, heat)
                if labels:
                    if told is None:
                        raise ConfigError(f"{where}: the loader must give labels to learn from them, gave inputs alone")
                    loss = loss + labels * F.cross_entropy(outputs, told)
                if not bool(loss.isfinite()):
                    raise RunError(f"{where}: the loss is {float(loss.detach())} after {step} steps; try a lower lr")
                values = [value for group in optimizer.param_groups for value in group["params"]]
                for value, gradient in zip(values, torch.autograd.grad(loss, values, allow_unused=True), strict=True):
                    value.grad = gradient
                optimizer.step()
                step += 1
                bar.update()
        if done < len(places):
            raise ConfigError(f"{where}: {len(places)} places need as many steps at least, got {total}; raise epochs")
        stages[-1] = run.closed(stages[-1], student, before, samples, heat)
    optimizer.zero_grad(set_to_none=True)
    target = model if inplace else copy.deepcopy(model)
    swap_activation(unwrapped(target), choice, layers=places, inplace=True).load_state_dict(student.state_dict())
    result: Any = target
    result.distilled_swap = DistilledSwap(tuple(stages))
    changed: Model = result
    return changed


def _places(model: nn.Module, layers: Selection, order: str) -> list[str]:
    """The activations that are to be swapped, in the order in which they are."""
    found = activations_of(model)
    check_globs("distill_swap: layers", as_list(layers), [path for path, _ in found], "activation")
    chosen = [path for path, module in found if layers is None or matches(path, module, layers)]
    if not chosen or "" in chosen:
        raise ConfigError("distill_swap: the model must have activations that are modules, got none that is chosen")
    return chosen if order == "forward" else chosen[::-1]


class _Run:
    """Runs a model on a batch, with the draw of that batch for one that takes a stream."""

    def __init__(self, stream: Stream | None) -> None:
        self.stream = stream

    def __call__(self, model: nn.Module, x: Tensor, draw: int) -> Tensor:
        y = answer("distill_swap", model, x, **({} if self.stream is None else {"stream": self.stream._replace(draw=draw)}))
        if not isinstance(y, Tensor):
            raise ConfigError(f"distill_swap: the model must give a tensor, got {type(y).__name__}")
        return y

    @torch.no_grad()
    def loss(self, student: nn.Module, teacher: nn.Module, samples: Samples, temperature: float) -> float:
        """The mean over the data."""
        found = [
            (float(distillation_loss(self(student, x, at), self(teacher, x, at), temperature)), len(x))
            for at, x in enumerate(samples.inputs())
        ]
        return sum(loss * count for loss, count in found) / sum(count for _, count in found)

    def closed(self, stage: DistilledStage, student: nn.Module, teacher: nn.Module, samples: Samples, temperature: float) -> DistilledStage:
        """The stage with the loss at its end."""
        return DistilledStage(stage.activations, stage.before, self.loss(student, teacher, samples, temperature))
