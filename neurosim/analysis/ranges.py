"""Ranges of converters and scales from the signals that really arrive at them."""

from __future__ import annotations

import copy
import math
from collections import Counter
from collections.abc import Callable, Sequence, Sized
from functools import partial
from itertools import islice
from typing import Any, Final

import torch
from torch import Tensor, nn
from tqdm import tqdm

from neurosim.analysis.calibration_report import Calibration, Ends, RangeReport
from neurosim.analysis.range_sites import Site, ends_of, part_of, set_ends, sites
from neurosim.analysis.sample import METHODS, Method, Sample
from neurosim.analysis.scale_ranges import fit_scales
from neurosim.checks import number, one_of
from neurosim.convert.calibration import Calibration as Inputs
from neurosim.convert.calibration import Samples
from neurosim.convert.chip_stack import ChipStack
from neurosim.convert.given import check_model
from neurosim.convert.parts import parts_in
from neurosim.convert.select import analog_layers, check_globs, matches, select_layers
from neurosim.errors import ConfigError
from neurosim.hardware.chain import override
from neurosim.hardware.ranges import max_range
from neurosim.hardware.stage import Spec
from neurosim.hardware.stages.fixed_point import FixedPoint, fixed_point
from neurosim.hardware.stages.scale import Scale, scale_of
from neurosim.nn.analog import ProductLayer
from neurosim.nn.answer import answer
from neurosim.nn.chain import AnalogChain
from neurosim.nn.modes import evaluation_mode
from neurosim.nn.wrappers import unwrapped
from neurosim.random import Stream

SIGNALS: Final = ("*.scale", "input.dac", "output.ranges", "output.adc")  #: what is calibrated unless something else is asked for
_METHOD_OF: Final = {"input": "encode", "weight": "weights", "bias": "weights", "output": "decode"}  #: of a chain, by path
_HALVINGS: Final = 8  #: powers of two that are tried for words at least, from the one that holds everything on


class _Enough(Exception):
    """The signal was seen: the rest of the forward need not run."""


def calibrate(
    model: nn.Module,
    loader: Inputs,
    *,
    layers: str | Sequence[str] | None = None,
    stages: str | Sequence[str] = SIGNALS,
    method: Method = "percentile",
    percentile: float = 99.99,
    trained_only: bool = False,
    stream: Stream | None = None,
) -> Calibration:
    """Set the ranges of converters and scales from what arrives at them, in place.

    Layer after layer in the order of the forward, so that each sees what the calibrated ones before it send; without noise and without
    the errors of the chip, with everything else that the hardware does. A range keeps its shape: one that is symmetric about 0 stays so,
    one that begins at 0 still does, any other is scaled as a whole. Fixed ranges are overridden, learned ones are parameters and set.

    - A converter that does not clip (``clip: none``) has the range of the clamp right before it; both are set.
    - A scale that is a number (``constant``, ``learned``, ``average``) is set to the range of what it divides. One that is the largest
      magnitude now (``absmax``) needs no calibration. Scales of weights that are learned for each output or input are each set to the
      range of the weights that it is for.

    Ranges are in units of the signal. A converter of signals whose range grows asks the hardware for a larger signal; errors that are
    given in full scales stay as they are.

    Args:
        model: A converted model.
        loader: Inputs like those that the model will see: a tensor, or batches that begin with one.
        layers: Globs over the paths of analog layers; ``None`` is all.
        stages: Globs over the slots of the chain: scales and converters of signals, unless others are named (``weight.quantize``). ``*`` is
            every range that there is, and there may be none.
        method: ``max``; ``percentile`` of the magnitudes; ``l1`` or ``mse``, the least absolute or squared error of rounding and clipping.
        percentile: In (0, 100].
        trained_only: Only ranges that are parameters, which a ``state_dict`` keeps and training moves on; there may be none.
        stream: For models that take one: batch n is run with draw n of it.

    Returns:
        The report, range by range.

    Raises:
        ConfigError: An argument is out of its domain, a glob names nothing, nothing has a range, a signal is not finite, or the model is
            a stack of chips.
        DataError: The model does not take the inputs. ``model`` is unchanged after both.

    Source:
        CrossSim 3.2 calibrates converter ranges by percentiles and by the L1 error of recorded signals; M. Nagel et al., "A white paper on
        neural network quantization", arXiv 2106.08295 (2021), section 3.1, for the squared error.

    >>> import neurosim as ns
    >>> chip = ns.to_analog(nn.Sequential(nn.Linear(2, 2, bias=False)), "photonic_avnn", seed=0)
    >>> print(calibrate(chip, torch.tensor([[0.5, -3.0]]), stages="input.dac", method="max"))
    1 ranges set from 1 inputs, by max
      layer  slot                         range  now  clipped  now  largest  note
      0      input.normalize + input.dac  ±1     ±3   50 %     0 %  3
    """
    check_model("calibrate", model, stream)
    one_of("calibrate: method", method, METHODS)
    if not 0 < number("calibrate: percentile", percentile, gt=0) <= 100:
        raise ConfigError(f"calibrate: percentile must be in (0, 100], got {percentile}")
    inner = unwrapped(model)
    if isinstance(inner, ChipStack):
        raise ConfigError(
            f"calibrate: the model must be one chip, got a stack of {len(inner)}: calibrate the model before neurosim.chips, or each of "
            "them: for chip in stack.chips: neurosim.calibrate(chip, loader)"
        )
    chosen = _sites(model, layers, stages, trained_only)
    twin = copy.deepcopy(inner)
    layers_of, parts = analog_layers(twin), parts_in(twin)
    chains = {path: layer.chain for path, layer in layers_of.items()}
    for chain in chains.values():
        _silence(chain)
    samples = Samples("calibrate", loader, next((value.device for value in twin.parameters()), torch.device("cpu")))
    found: list[tuple[str, Site, Ends | Tensor]] = []
    rows: list[RangeReport] = []
    with torch.no_grad(), evaluation_mode(twin):
        seen, uses = _order(twin, chains, samples, stream)
        order = [path for path in uses if path in chosen]
        batches = 1 if isinstance(loader, Tensor) or not isinstance(loader, Sized) else len(loader)
        bar = tqdm(desc="calibrate", unit="batch", total=batches * sum(len(chosen[path]) for path in order), delay=2, dynamic_ncols=True)
        with bar:
            for path in order:
                for site in chosen[path]:
                    owner = layers_of[path]
                    if site.several and isinstance(owner, ProductLayer):
                        matrix = owner.matrix(parts[path].weight)
                        row, scales = fit_scales(path, owner.chain, site, matrix, method, percentile / 100)
                        set_ends(chains[path], site, scales)
                        found.append((path, site, scales))
                        rows.append(row)
                        bar.update(batches)
                        continue
                    signal = Sample()
                    _observe(twin, chains[path], site, samples, signal, uses[path], stream, bar)
                    before = ends_of(chains[path], site)
                    ends, note = _judge(path, site, before, signal, method, percentile / 100)
                    set_ends(chains[path], site, ends)
                    found.append((path, site, ends))
                    after = ends_of(chains[path], site)  # as the stage has them: of words, at a power of two
                    shares = signal.outside(before), signal.outside(after)
                    rows.append(RangeReport(path, site.name, before, after, *shares, signal.largest, note))
    real = {path: layer.chain for path, layer in analog_layers(model).items()}
    for path, site, limits in found:
        set_ends(real[path], site, limits)
    return Calibration(tuple(rows), f"{percentile:g} %" if method == "percentile" else method, seen)


def _sites(model: nn.Module, layers: str | Sequence[str] | None, stages: str | Sequence[str], trained_only: bool) -> dict[str, list[Site]]:
    """The ranges to set, by layer, in the order of the chain."""
    every = {path: sites(layer.chain) for path, layer in select_layers(model, layers, "calibrate: layers").items()}
    globs = [stages] if isinstance(stages, str) else list(stages)
    named = [glob for glob in globs if glob not in (*SIGNALS, "*")]  # these are asked for where there are some
    check_globs("calibrate: stages", named, {site.slot for found in every.values() for site in found}, "stage with a range")
    chosen = {
        path: [site for site in found if matches(site.slot, nn.Identity(), globs) and (site.trained or not trained_only)]
        for path, found in every.items()
    }
    if not trained_only and "*" not in globs and not any(chosen.values()):
        raise ConfigError(f"calibrate: no range to set is among the stages {', '.join(globs)} of these layers")
    return {path: found for path, found in chosen.items() if found}


def _silence(chain: AnalogChain) -> None:
    """No randomness, no errors of the chip, every vector sent once."""
    scale: Spec | None = chain.slots.get("input.scale")
    if isinstance(scale, Scale) and scale.retries:
        chain.configure(override(chain.spec, {"input.scale.retries": None}), chain.seed)
    chain.kept = None
    chain.modes = {slot: "ideal" if mode == "ideal" else "off" for slot, mode in chain.modes.items()}


def _order(model: nn.Module, chains: dict[str, AnalogChain], samples: Samples, stream: Stream | None) -> tuple[int, Counter[str]]:
    """How many inputs there are, and how often each layer is used in a forward, in the order of the first uses."""
    uses: Counter[str] = Counter()

    def watch(path: str, encode: Callable[..., Tensor]) -> Callable[..., Tensor]:
        def watched(x: Tensor, call: int) -> Tensor:
            uses[path] += 1
            return encode(x, call)

        return watched

    for path, chain in chains.items():
        chain.__dict__["encode"] = watch(path, chain.encode)
    total = 0
    for at, x in enumerate(samples.inputs()):
        total += len(x)
        if not at:
            _run(model, x, stream, at)
    for chain in chains.values():
        del chain.__dict__["encode"]
    return total, uses


def _run(model: nn.Module, x: Tensor, stream: Stream | None, draw: int) -> None:
    answer("calibrate", model, x, **({} if stream is None else {"stream": stream._replace(draw=draw)}))


def _observe(
    model: nn.Module, chain: AnalogChain, site: Site, samples: Samples, signal: Sample, uses: int, stream: Stream | None, bar: Any
) -> None:
    """Gather what arrives at a range in all batches; of weights, which are the same for all, in the first."""
    path, slot = site.slot.split(".")[0], site.limiter or site.slot
    name = _METHOD_OF[path]
    method = getattr(chain, name)
    names = [one for one in chain.slots if one.split(".")[0] == path]
    left = [0]

    def through(ideal: Sequence[str], args: Any) -> Any:
        modes = chain.modes
        chain.modes = modes | dict.fromkeys(ideal, "ideal")
        result = method(*args)
        chain.modes = modes
        return result

    def watched(*args: Any) -> Any:
        if isinstance(site.spec, Scale):
            factor = 1.0 if chain.modes[slot] == "ideal" else scale_of(args[0], site.spec, *chain.context(slot))
            signal.add(args[0] * factor)
        else:
            arrived = through(names[names.index(slot) :], args)
            value = arrived if isinstance(arrived, Tensor) else arrived[path == "bias"]
            if value is not None:  # a layer without bias
                signal.add(part_of(value, chain, site))
        left[0] -= 1
        if not left[0]:
            raise _Enough
        # a second use sees what the first one sends without the range that is looked for; of several ranges, with the present ones
        return through([] if site.part else [slot, site.slot], args)

    chain.__dict__[name], chain.watched = watched, True
    for at, x in enumerate(islice(samples.inputs(), 1 if name == "weights" and not chain.rewritten else None)):
        left[0] = uses
        try:
            _run(model, x, stream, at)
        except _Enough:
            bar.update()
    del chain.__dict__[name]
    chain.watched = False


def _judge(path: str, site: Site, before: Ends, signal: Sample, method: Method, share: float) -> tuple[Ends, str]:
    """The new range of a signal, and what is special."""
    words = partial(_best_words, spec=site.spec, method=method) if isinstance(site.spec, FixedPoint) else None
    try:
        return signal.range(before, method, share, site.levels, words)
    except ConfigError as error:
        raise ConfigError(f"calibrate: {path or '(model)'}: {site.slot}: {error}") from None


def _best_words(x: Tensor, spec: FixedPoint, method: Method) -> float:
    """The largest magnitude of the words that do a sample the least harm, whose range is a power of two."""
    values, (_, top) = x.double(), math.frexp(max_range(x))

    def harm(limit: float) -> float:
        error = (fixed_point(values, spec.model_copy(update={"range": limit})) - values).abs()
        return float(error.mean() if method == "l1" else error.square().mean())

    tried = [math.ldexp(1.0, top - less) for less in range(_HALVINGS)]
    best = min(tried, key=harm)
    while best <= tried[-1] and harm(best / 2) < harm(best):  # few numbers are far larger than all others
        best /= 2
    return best * -spec.lowest / (1 << (spec.bits - 1))
