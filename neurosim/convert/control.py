"""Steering a converted model: noise modes, chips, parameters of the chain, and the noise counter."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from fnmatch import fnmatchcase
from typing import Any, Literal, NamedTuple, get_args

import torch
from torch import Tensor, nn

from neurosim.checks import number
from neurosim.convert.fan_in import crowded_neurons
from neurosim.convert.select import analog_layers, as_list, check_globs, noise_counters, select_layers
from neurosim.convert.validity import check_fits, warn_beyond
from neurosim.errors import CheckpointError, ConfigError, ConversionError, nearest
from neurosim.hardware.chain import LayerSpec, fields, matching, places
from neurosim.hardware.chain import override as override_chain
from neurosim.hardware.stage import Mode
from neurosim.nn.analog import HardwareLayer
from neurosim.nn.chain import AnalogChain
from neurosim.nn.clock import Clock
from neurosim.nn.modes import recomputing
from neurosim.nn.wrappers import unwrapped


class _Stand(NamedTuple):
    """Where a noise counter stood."""

    counter: AnalogChain | Clock
    calls: int
    draw: Tensor


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
        ConversionError: A layer, or several that lead to one neuron, have too many inputs, or a layer measured maps that do not fit.
    """
    chains = {path: layer.chain for path, layer in select_layers(model, layers, "override: layers").items()}
    specs = overridden({path: chain.spec for path, chain in chains.items()}, changes, "override")
    for path, chain in chains.items():
        check_fits(specs[path], chain, path)
    changed = {id(chain): specs[path] for path, chain in chains.items()}
    inner = unwrapped(model)
    parts = {path: layer.chain for path, layer in inner.named_modules() if isinstance(layer, HardwareLayer)}
    if crowded := crowded_neurons(inner, {path: changed.get(id(chain), chain.spec) for path, chain in parts.items()}):
        raise ConversionError("\n".join(crowded))
    for path, chain in chains.items():
        chain.configure(specs[path], chain.seed)
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


def get_draws(model: nn.Module) -> dict[str, int]:
    """The noise counter of every analog layer and clock of a network, by path: what a checkpoint saves beside ``state_dict``."""
    return {path: int(counter.draw) for path, counter in noise_counters(model).items()}


def set_draws(model: nn.Module, draws: Mapping[str, int]) -> None:
    """Put back what :func:`get_draws` gave.

    Raises:
        CheckpointError: The layers are not the same.
    """
    counters = noise_counters(model)
    if set(counters) != set(draws):
        raise CheckpointError(f"noise counters: must be for the layers {sorted(counters)}, got {sorted(draws)}")
    for path, counter in counters.items():
        counter.draw.fill_(draws[path])


def set_draw(model: nn.Module, draw: int) -> None:
    """Set every noise counter; the next forward uses ``draw + 1``; after ``redraw(model, "manual")``, ``draw``."""
    if not 0 <= draw < 1 << 32:
        raise ConfigError(f"set_draw: must be from 0 to 2^32 - 1, got {draw}")
    for counter in noise_counters(model).values():
        counter.draw.fill_(draw)
        if isinstance(counter, AnalogChain):
            counter.calls = 0


def redraw(model: nn.Module, policy: Literal["forward", "manual"]) -> None:
    """Whether each forward of the model draws new noise (``forward``), or only a call of :func:`set_draw` does (``manual``).

    Raises:
        ConfigError: Another policy.
    """
    if policy not in ("forward", "manual"):
        raise ConfigError(f"redraw: no policy is named {policy!r}{nearest(str(policy), ('forward', 'manual'))}")
    for counter in noise_counters(model).values():
        counter.advances = policy == "forward"


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


def advance(model: nn.Module, args: Any) -> None:
    """Forward pre-hook of a converted model: its next draw begins, and its layers count their uses from 0.

    Inside ``torch.func`` transforms, which demand pure functions, the counter stands still; pass it as a buffer of ``functional_call`` to
    move it.
    """
    if recomputing():
        return
    transformed = not torch.compiler.is_compiling() and torch._C._are_functorch_transforms_active()
    for module in model.modules():
        if isinstance(module, AnalogChain):
            if module.advances and not transformed:
                module.draw.add_(1)
            module.restart()


def checkpoint_context(model: nn.Module) -> Callable[[], tuple[AbstractContextManager[None], AbstractContextManager[None]]]:
    """The ``context_fn`` with which an activation checkpoint recomputes exactly the noise of its forward, whatever happened in between.

    ``torch.utils.checkpoint.checkpoint(block, x, use_reentrant=False, context_fn=ns.checkpoint_context(model))``

    Without it, noise is recomputed correctly for layers that one forward uses once, as long as ``backward`` runs before the model's next
    forward.

    Args:
        model: The converted model that the checkpointed block belongs to.
    """

    def contexts() -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
        stand: list[_Stand] = []
        return _record(model, stand), _replay(stand)

    return contexts


@contextmanager
def _record(model: nn.Module, stand: list[_Stand]) -> Iterator[None]:
    stand += [_stands(counter) for counter in noise_counters(model).values()]
    yield


@contextmanager
def _replay(stand: list[_Stand]) -> Iterator[None]:
    now = [_stands(one.counter) for one in stand]
    for one in stand:
        _put(one, replays=True)
    try:
        yield
    finally:
        for one in now:
            _put(one, replays=False)


def _stands(counter: AnalogChain | Clock) -> _Stand:
    return _Stand(counter, counter.calls if isinstance(counter, AnalogChain) else 0, counter.draw.clone())


def _put(stand: _Stand, *, replays: bool) -> None:
    counter = stand.counter
    counter.replays = replays
    counter.draw.copy_(stand.draw)
    if isinstance(counter, AnalogChain):
        counter.calls = stand.calls
