"""Steering a converted model: noise modes, chips, parameters of the chain, and the noise counter."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from fnmatch import fnmatchcase
from typing import Any, get_args

from torch import nn

from neurosim.checks import number
from neurosim.clock import Clock
from neurosim.convert.fan_in import crowded_neurons
from neurosim.convert.parts import check_sign, parts_in
from neurosim.convert.select import analog_layers, as_list, check_globs, noise_counters, select_layers
from neurosim.convert.validity import check_fits, warn_beyond
from neurosim.errors import ConfigError, ConversionError, nearest
from neurosim.hardware.chain import LayerSpec, fields, matching, places
from neurosim.hardware.chain import override as override_chain
from neurosim.hardware.stage import Mode
from neurosim.nn.analog import HardwareLayer, ProductLayer
from neurosim.nn.first_scales import start_scales
from neurosim.nn.wrappers import unwrapped


@contextmanager
def noise(
    mode: Mode, model: nn.Module, layers: str | Sequence[str] | None = None, stages: str | Sequence[str] | None = None
) -> Iterator[None]:
    """Within the ``with`` block, some stages of some layers run in that noise mode; nested blocks refine it.

    Modes are independent of ``train()`` and ``eval()``:

    - ``fresh``: new noise at every forward (the default);
    - ``fixed``: the noise of the moment at which the (outermost such) block was entered, at every forward;
    - ``off``: no randomness, frozen errors included; deterministic effects (quantisation, limits) stay;
    - ``ideal``: the stage does nothing; a layer whose every stage is ideal is the digital layer.

    Args:
        mode: One of the four.
        model: A converted model.
        layers: Globs over the paths of its analog layers; ``None`` is all.
        stages: Globs over the slots of the chain, such as ``output.adc`` or ``weight.*``; ``None`` is all.

    Raises:
        ConfigError: An unknown mode, or a glob that names nothing.

    >>> import torch
    >>> import neurosim as ns
    >>> model = ns.to_analog(nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 2)), "photonic_avnn", seed=0)
    >>> with ns.noise("ideal", model), ns.noise("fresh", model, layers="2", stages="output.adc"):
    ...     y = model(torch.ones(1, 4))  # only the converter of the last layer is simulated
    """
    if mode not in get_args(Mode):
        raise ConfigError(f"noise: no mode is named {mode!r}{nearest(str(mode), get_args(Mode))}")
    chains = [layer.chain for layer in select_layers(model, layers, "noise: layers").values()]
    globs = ["*"] if stages is None else as_list(stages)
    check_globs("noise: stages", globs, {slot for chain in chains for slot in chain.slots}, "stage of these layers")
    before = [(chain, dict(chain.modes), chain.held.clone()) for chain in chains]
    for chain in chains:
        if mode == "fixed" and "fixed" not in chain.modes.values():
            chain.held.copy_(chain.draw)
        chain.modes |= {slot: mode for slot in chain.slots if any(fnmatchcase(slot, str(glob)) for glob in globs)}
    try:
        yield
    finally:
        for chain, modes, held in before:
            chain.modes = {slot: modes.get(slot, "fresh") for slot in chain.slots}
            chain.held.copy_(held)


def program(model: nn.Module, seed: int, layers: str | Sequence[str] | None = None, *, seconds: float = 0.0) -> None:
    """Turn a converted model into the chip of that seed: its frozen errors are drawn anew and all its streams are named anew.

    Args:
        model: A converted model; changed in place.
        seed: Which chip, in [0, 2⁶³).
        layers: Globs; ``None`` is all, and the clocks of spiking networks with them.
        seconds: How long ago it was programmed, s, as in :func:`drift_to`.

    Raises:
        ConfigError: The seed or the time is out of its domain, or a glob names nothing.
    """
    when = number("program: seconds", seconds, ge=0)
    found = select_layers(model, layers, "program: layers")
    for layer in found.values():
        layer.chain.program(seed)
        layer.chain.seconds = when
    warn_beyond(layer.chain for layer in found.values())
    for counter in noise_counters(model).values() if layers is None else ():
        if isinstance(counter, Clock):
            counter.program(seed)


def drift_to(model: nn.Module, seconds: float, layers: str | Sequence[str] | None = None) -> None:
    """Let time pass: from now on, the chip was programmed ``seconds`` ago.

    Conductances are those of that time, whichever times were asked for before: a chip does not remember them. What is held until time
    changes is drawn for this time; the same time gives the same draw again.

    Args:
        model: A converted model; changed in place.
        seconds: Time since programming, s, ≥ 0.
        layers: Globs; ``None`` is all.

    Raises:
        ConfigError: A negative or infinite time, or a glob that names nothing.
    """
    when = number("drift_to: seconds", seconds, ge=0)
    found = select_layers(model, layers, "drift_to: layers")
    for layer in found.values():
        layer.chain.seconds = when
    warn_beyond(layer.chain for layer in found.values())


def override(model: nn.Module, changes: Mapping[str, Any], layers: str | Sequence[str] | None = None) -> None:
    """Change parameters of the chain in place; frozen errors are drawn anew for the same chip.

    Args:
        model: A converted model.
        changes: Value by dotted key, as in :func:`neurosim.hardware.chain.override`; a key must fit at least one of the layers.
        layers: Globs; ``None`` is all.

    Raises:
        ConfigError: A key fits no layer or a value is out of its domain; then nothing has changed.
        ConversionError: A layer, or several that lead to one neuron, have too many inputs, or a layer measured maps that do not fit, or
            weights below 0 where cells would hold none; likewise.
    """
    chosen = select_layers(model, layers, "override: layers")
    chains = {path: layer.chain for path, layer in chosen.items()}
    specs = overridden({path: chain.spec for path, chain in chains.items()}, changes, "override")
    products = parts_in(unwrapped(model))
    for path, chain in chains.items():
        check_fits(specs[path], chain, path)
        if path in products:
            check_sign(specs[path], products[path].weight, path)
    changed = {id(chain): specs[path] for path, chain in chains.items()}
    inner = unwrapped(model)
    parts = {path: layer.chain for path, layer in inner.named_modules() if isinstance(layer, HardwareLayer)}
    if crowded := crowded_neurons(inner, {path: changed.get(id(chain), chain.spec) for path, chain in parts.items()}):
        raise ConversionError("\n".join(crowded))
    for path, chain in chains.items():
        chain.configure(specs[path], chain.seed)
        if path in products and isinstance(layer := chosen[path], ProductLayer):
            start_scales(chain, layer.matrix(products[path].weight))
    warn_beyond(chains.values())


def overridden(specs: Mapping[str, LayerSpec], changes: Mapping[str, Any], where: str, what: str = "these layers") -> dict[str, LayerSpec]:
    """The chains of several layers with parameters changed; a key must fit at least one of them.

    Args:
        specs: Chain by layer path.
        changes: Value by dotted key, as in :func:`neurosim.hardware.chain.override`.
        where: How messages call these changes.
        what: How messages call the layers together.

    Raises:
        ConfigError: All problems at once.
    """
    fitting = {path: {key: value for key, value in changes.items() if matching(spec, key)} for path, spec in specs.items()}
    known = sorted({name for spec in specs.values() for name in (*fields(spec), *places(spec))})
    problems = [
        f"{where}: {key!r} names no parameter of {what}{nearest(key, known)}"
        for key in changes
        if not any(key in fits for fits in fitting.values())
    ]
    found = {}
    for path, spec in specs.items():
        try:
            found[path] = override_chain(spec, fitting[path], where=where)
        except ConfigError as error:
            problems += [problem for problem in error.problems if problem not in problems]
    if problems:
        raise ConfigError("\n".join(problems), problems)
    return found


def set_noise_strength(model: nn.Module, strength: float) -> None:
    """Multiply every random error by a factor: training ramps it up from 0.

    Args:
        model: A converted model.
        strength: In [0, 1].

    Raises:
        ConfigError: Out of range.
    """
    if not 0 <= strength <= 1:
        raise ConfigError(f"noise strength: must be from 0 to 1, got {strength}")
    for layer in analog_layers(model).values():
        layer.chain.strength = float(strength)
