"""Gates in front of the layers of a trained model, calibrated on data, without any training."""

from __future__ import annotations

import contextlib
import copy
import math
from collections.abc import Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any, Literal, TypeVar, get_args

import torch
from torch import Tensor, nn
from tqdm import tqdm

from neurosim.analysis.inputs import check_chip
from neurosim.analysis.observe import watching
from neurosim.analysis.survey import watched_modules
from neurosim.checks import one_of
from neurosim.convert.affine import TRANSPOSED, WEIGHTED
from neurosim.convert.calibration import Calibration, Samples
from neurosim.convert.control import noise
from neurosim.convert.draws import get_draws, set_draws
from neurosim.convert.fused_path import drop_fused_path
from neurosim.convert.given import check_model
from neurosim.convert.select import Selection, analog_layers, as_list, check_globs, matches
from neurosim.convert.swap_activation import activations_of
from neurosim.errors import ConfigError
from neurosim.nn.answer import answer
from neurosim.nn.modes import evaluation_mode
from neurosim.nn.wrappers import unwrapped
from neurosim.random import Stream
from neurosim.sparsity.folding import unfold_centres
from neurosim.sparsity.gates import Gate, Gated, LargestGate, ThresholdGate, gated_layers
from neurosim.sparsity.report import GateReport, Sparsification
from neurosim.sparsity.thresholds import CENTRES, Centre, centre_of, check_sparsity, column_norms, magnitude_threshold
from neurosim.sparsity.watchers import Errors, Inputs

Model = TypeVar("Model", bound=nn.Module)
Method = Literal["teal", "chess", "cats", "wina", "scap"]
Select = Literal["threshold", "vector"]


def sparsify(
    model: Model,
    method: Method,
    sparsity: float | Mapping[str, float],
    loader: Calibration,
    *,
    layers: Selection = None,
    centre: Centre | None = None,
    select: Select | None = None,
    stream: Stream | None = None,
    inplace: bool = False,
) -> Model:
    r"""A copy of a model whose layers leave out the inputs that count least.

    ========  ===================================  =========================  ==================
    method    score of an input                    threshold                  stands before
    ========  ===================================  =========================  ==================
    teal      :math:`|x_i|`                        one a layer                products
    chess     :math:`|x_i|`                        one a channel              products
    cats      :math:`|x_i|`                        one a layer                behind activations
    wina      :math:`|x_i| \|W_{:,i}\|_2`          none: the largest of each  products
    scap      :math:`|x_i - m|`                    one a layer                products
    ========  ===================================  =========================  ==================

    Thresholds are quantiles of what the layers of the model as it is are given. With ``sparsity`` 0 nothing changes, bit by bit. What is
    left out becomes m, which :func:`neurosim.sparsity.fold_centres` takes into biases: then it is 0. Layers on simulated hardware get gates
    likewise; they are calibrated without noise.

    Args:
        model: Any module, in evaluation.
        method: See the table.
        sparsity: The share that is left out, in 0 … 1, without 1; or shares by glob over paths, the first that fits.
        loader: Inputs like those that the model will see: a tensor, or batches that begin with one.
        layers: Which products, or activations for ``cats``: globs over their paths, or types; None for all.
        centre: m: ``zero``, ``median`` or ``kde``, the peak of the density; by default ``kde`` for ``scap``, else ``zero``.
        select: ``threshold`` or ``vector``: a calibrated threshold on scores, or so many of each vector of channels; None as in the table.
        stream: For models that take one: batch n is run with draw n of it.
        inplace: Change ``model`` itself.

    Returns:
        The model, with the report at ``model.sparsification``; :func:`neurosim.densify` takes the gates out again.

    Raises:
        ConfigError: An argument is out of its domain, the model has gates, a glob names nothing, there is nothing to be sparsified, or an
            input is not finite.
        DataError: The model does not take the inputs. ``model`` is unchanged after every error.

    Source:
        J. Liu et al., ICLR 2025 (TEAL); J. He et al., EMNLP 2024 (CHESS; here each channel has its own quantile); D. Lee et al., "CATS:
        contextually-aware thresholding for sparsity in large language models", COLM 2024; S. Chen et al., 2025 (WINA); V. S. Chua, Y. Pan,
        N. Jain, 2024 (SCAP).

    >>> model = nn.Sequential(nn.Linear(8, 4), nn.ReLU(), nn.Linear(4, 2))
    >>> sparse = sparsify(model, "teal", 0.5, torch.arange(-32.0, 32.0).reshape(8, 8) + 0.5, layers="0")
    >>> sparse.sparsification.layers[0].reached, densify(sparse)
    (0.5, Sequential(
      (0): Linear(in_features=8, out_features=4, bias=True)
      (1): ReLU()
      (2): Linear(in_features=4, out_features=2, bias=True)
    ))
    """
    check_chip("sparsify", model, stream)
    one_of("sparsify.method", method, get_args(Method))
    how: Select = one_of("sparsify.select", select or ("vector" if method == "wina" else "threshold"), get_args(Select))
    middle: Centre = one_of("sparsify.centre", centre or ("kde" if method == "scap" else "zero"), CENTRES)
    if method == "chess" and how == "vector":
        raise ConfigError("sparsify.select: chess has thresholds of channels, got 'vector'; use teal")
    wanted = _wanted(model, method, layers, sparsity)
    twin = copy.deepcopy(unwrapped(model))
    root = nn.ModuleDict({"model": twin})
    twins = {path: twin.get_submodule(path) for path in wanted}
    samples = Samples("sparsify", loader, next((value.device for value in twin.parameters()), torch.device("cpu")))
    seen = Inputs({id(layer): path for path, layer in twins.items()}, behind=method == "cats")
    watched = twins.values() if method != "cats" else dict.fromkeys([*watched_modules(twin).values(), *twins.values()])
    dense = list(_run(twin, watched, seen, samples, stream, "calibrate"))
    gates: dict[str, Gate] = {}
    reports: dict[str, GateReport] = {}
    for path, layer in twins.items():
        if path in seen.found:
            gates[path] = _gate(path, layer, torch.cat(seen.found[path]), seen.axes[path], method, wanted[path], middle, how)
        else:
            reports[path] = GateReport(path, wanted[path], reason="nothing reached it as a module that is called")
    if not gates:
        raise ConfigError("sparsify: no layer was reached by the data")
    _insert(root, {id(twins[path]): Gated(gate, twins[path], behind=method == "cats") for path, gate in gates.items()})
    twin = root["model"]
    gated = {path: twin.get_submodule(path) for path in gates}
    watch = Errors({id(module): path for path, module in gated.items()})
    error = _distance(dense, _run(twin, gated.values(), watch, samples, stream, "measure"))
    for path, gate in gates.items():
        reports[path] = GateReport(path, wanted[path], watch.zeros(path), float(gate.centre), watch.error(path))
    target = model if inplace else copy.deepcopy(model)
    bare = unwrapped(target)
    if inplace and "" in gates:
        raise ConfigError("sparsify: a model that is itself a layer cannot be changed in place; use what is returned")
    home = nn.ModuleDict({"model": bare})
    places = {id(layer := bare.get_submodule(path)): Gated(gate, layer, behind=method == "cats") for path, gate in gates.items()}
    _insert(home, {at: one.train(one.layer.training) for at, one in places.items()})
    result: Any = target if bare is not target else home["model"]
    result.sparsification = Sparsification(method, tuple(reports[path] for path in wanted), error)
    changed: Model = result
    return changed


def densify(model: Model, *, inplace: bool = False) -> Model:
    """A copy of a model without its gates; what :func:`neurosim.sparsity.fold_centres` gave to biases is taken back, up to rounding.

    Args:
        model: Any module.
        inplace: Change ``model`` itself.

    Raises:
        ConfigError: The model has no gates, or is itself a layer with one, and to be changed in place.
    """
    check_model("densify", model)
    target = model if inplace else copy.deepcopy(model)
    bare = unwrapped(target)
    gated = gated_layers(bare)
    if not gated:
        raise ConfigError("densify: the model has no gates")
    if inplace and "" in gated:
        raise ConfigError("densify: a model that is itself a layer with a gate cannot be changed in place; use what is returned")
    unfold_centres(gated.values())
    home = nn.ModuleDict({"model": bare})
    _insert(home, {id(one): one.layer for one in gated.values()})
    result: Any = target if bare is not target else home["model"]
    if hasattr(result, "sparsification"):
        del result.sparsification
    changed: Model = result
    return changed


def _wanted(model: nn.Module, method: Method, layers: Selection, sparsity: float | Mapping[str, float]) -> dict[str, float]:
    """The layers that are to have gates, and how much each is to leave out."""
    bare = unwrapped(model)
    if gated_layers(bare):
        raise ConfigError("sparsify: the model has gates already; take them out with neurosim.densify(model)")
    if method == "cats":
        found = dict(activations_of(bare))
    else:
        found = {path: module for path, module in bare.named_modules() if isinstance(module, WEIGHTED)}
    what = "activation" if method == "cats" else "layer"
    if not found:
        raise ConfigError(
            f"sparsify: the model must have a module that is {'an activation' if method == 'cats' else 'a product'}, got none"
        )
    check_globs("sparsify.layers", as_list(layers), found, what)
    chosen = [path for path, module in found.items() if layers is None or matches(path, module, layers)]
    if not chosen:
        raise ConfigError(f"sparsify.layers: must name a {what}, got {layers!r}")
    if not isinstance(sparsity, Mapping):
        return dict.fromkeys(chosen, check_sparsity("sparsify.sparsity", sparsity))
    shares = {glob: check_sparsity(f"sparsify.sparsity[{glob!r}]", share) for glob, share in sparsity.items()}
    check_globs("sparsify.sparsity", shares, found, what)
    fitting = {path: [share for glob, share in shares.items() if fnmatchcase(path, glob)] for path in chosen}
    wanted = {path: of[0] for path, of in fitting.items() if of}
    if not wanted:
        raise ConfigError(f"sparsify.sparsity: must name a {what} that sparsify.layers names too, got {list(shares)} and {layers!r}")
    return wanted


def _gate(path: str, layer: Any, x: Tensor, known: int | None, method: Method, sparsity: float, centre: Centre, select: Select) -> Gate:
    """The gate of one layer; ``x`` has channels last, but flat behind activations."""
    if not bool(x.isfinite().all()):
        raise ConfigError(f"sparsify: what reaches {path or 'the model'} must be finite, got infinite values or NaN")
    if select == "vector" and known is None:
        raise ConfigError(
            f"sparsify.select: where {path or 'the model'} has its channels must be one axis that a layer before it tells; use 'threshold'"
        )
    axis, weights = -1 if known is None else known, None
    if method == "wina":
        weights = column_norms(layer.weight.detach(), getattr(layer, "groups", 1), transposed=isinstance(layer, TRANSPOSED))
    middle = centre_of(x, centre)
    if select == "vector":
        return LargestGate(sparsity, axis, middle, weights)
    scores = x - middle if weights is None else (x - middle) * weights
    return ThresholdGate(magnitude_threshold(scores, sparsity, -1 if method == "chess" else None), axis, middle, weights)


def _insert(root: nn.ModuleDict, new: Mapping[int, nn.Module]) -> None:
    """Put modules in the places of others, which are named by their ids; not into the new ones."""
    held = {id(module) for module in new.values()}
    for module in list(root.modules()):
        if id(module) not in held:
            for name, child in module._modules.items():
                if child is not None and id(child) in new:
                    module._modules[name] = new[id(child)]
    drop_fused_path(root, new.values())


@torch.no_grad()
def _run(model: nn.Module, modules: Any, watcher: Any, samples: Samples, stream: Stream | None, what: str) -> Iterator[Any]:
    """What the model gives, batch by batch, with its draws where they were afterwards."""
    draws = get_draws(model)
    quiet = noise("ideal", model) if analog_layers(model) else contextlib.nullcontext()
    bar = tqdm(desc=f"{what} gates", unit="batch", delay=2, dynamic_ncols=True)
    with bar, evaluation_mode(model), quiet, watching(modules, watcher):
        for at, x in enumerate(samples.inputs()):
            yield answer("sparsify", model, x, **({} if stream is None else {"stream": stream._replace(draw=at)}))
            bar.update()
    set_draws(model, draws)


def _distance(dense: Sequence[Any], sparse: Iterator[Any]) -> float:
    """Relative root of the squared error."""
    error = size = 0.0
    for y, found in zip(dense, sparse, strict=True):
        if not isinstance(y, Tensor):
            error = math.nan
            continue
        error += float((found - y).abs().double().square().sum())
        size += float(y.abs().double().square().sum())
    return math.sqrt(error / size) if size else 0.0 if error == 0 else math.nan
