"""How a network imported from another library is compared with its source, and what is reported of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final, NamedTuple

import torch
from torch import Tensor, nn

from neurosim.convert.report import table
from neurosim.errors import ConversionError
from neurosim.neurons import LIF, CubaLIF
from neurosim.nn.time import SpikingSequential, step_through
from neurosim.random import Stream, stream

Source = Callable[[Tensor], tuple[Tensor, Tensor | None]]

#: what rounding may do: this share of the spikes may differ, and values by this much of the largest
SPIKES_MAY_DIFFER: Final = 0.01
VALUES_MAY_DIFFER: Final = 1e-4


class Part(NamedTuple):
    """A layer of the source and what stands for it."""

    path: str
    layer: nn.Module  #: of the source
    ours: nn.Module
    theirs: Source  #: from rest, a sequence ``(time, batch, *)`` to its results and, if it has one, the membrane after every step
    words: str  #: the convention, and where it differs
    fires: bool = False


@dataclass(frozen=True)
class LayerMatch:
    """One layer of the source beside ours, on what the source's layer before it gave and on a random drive of its own.

    Args:
        path: Its name in the source.
        type: Its class there.
        becomes: What stands for it.
        text: The convention that was mapped, and where gradients or training differ.
        spikes: Spikes of the source; None for layers that do not fire.
        differing: How many outputs of 0 or 1 are the other way round.
        deviation: Largest difference of outputs.
        membrane: Largest difference of membranes after a step; None where the source shows none.
    """

    path: str
    type: str
    becomes: str
    text: str
    spikes: int | None
    differing: int
    deviation: float
    membrane: float | None


@dataclass(frozen=True)
class Exchange:
    """The report that an import leaves at ``network.exchange``; ``print`` shows it as a table.

    Args:
        library: The source, with its version.
        steps, samples: Length and batch of the random drive.
        layers: One entry a layer.
        spikes: Spikes of the source's last layer on the drive of the whole network; None if it does not fire.
        differing, deviation: Of the last layer's output, from input to output.
    """

    library: str
    steps: int
    samples: int
    layers: tuple[LayerMatch, ...]
    spikes: int | None
    differing: int
    deviation: float

    def to_dict(self) -> dict[str, Any]:
        """Plain data: JSON-able."""
        return asdict(self)

    def __str__(self) -> str:
        count = f"{self.differing} of {self.spikes:,} spikes differ, " if self.spikes is not None else ""
        head = f"{self.library}: {count}largest deviation {self.deviation:.2g}, on {self.steps} steps of {self.samples} samples"
        rows = [
            (
                *(layer.path, layer.type, layer.becomes, "" if layer.spikes is None else f"{layer.differing} of {layer.spikes:,}"),
                *(f"{layer.deviation:.2g}", "" if layer.membrane is None else f"{layer.membrane:.2g}", layer.text),
            )
            for layer in self.layers
        ]
        return "\n".join([head, *table(("layer", "type", "becomes", "spikes differ", "deviation", "of membranes", "convention"), rows)])


def verified(where: str, library: str, parts: Sequence[Part], drive: Tensor, seed: int) -> Exchange:
    """Run both networks on a drive, each layer also on a drive that makes it fire, and compare.

    Args:
        where: The function that imports, for messages.
        library: What the report calls the source.
        parts: The layers, in order.
        drive: ``(time, batch, *)``.
        seed: Of the drives of single layers.

    Raises:
        ConversionError: A layer differs by more than rounding can explain, or one of the networks cannot take the drive.
    """
    theirs = ours = drive
    matches = []
    with torch.no_grad():
        for part in parts:
            try:
                inputs = [theirs, *_own_drives(part, theirs, stream(seed, "exchange", part.path))]
                results = [part.theirs(x) for x in inputs]
            except Exception as error:
                raise ConversionError(
                    f"{where}: {part.path} ({type(part.layer).__name__}) must take a drive of shape {tuple(theirs.shape)}, "
                    f"got {type(error).__name__}: {error}; say input_shape=… or drive=…"
                ) from error
            matches.append(_match(where, part, inputs, results))
            theirs = results[0][0]
            ours = step_through(part.ours, ours, None, None, part.path)[0]
    last = parts[-1].fires
    differing, deviation = _differing(theirs, ours, last), _deviation(theirs, ours)
    return Exchange(library, len(drive), drive.shape[1], tuple(matches), _fired(theirs) if last else None, differing, deviation)


def _match(where: str, part: Part, inputs: Sequence[Tensor], results: Sequence[tuple[Tensor, Tensor | None]]) -> LayerMatch:
    """What came of one layer on its inputs."""
    kind = type(part.layer).__name__
    differing, spikes, deviation, scale = 0, 0, 0.0, 0.0
    membrane: float | None = None
    for x, (out, potential) in zip(inputs, results, strict=True):
        mine, found = _run(part.ours, x, part.path)
        if mine.shape != out.shape:
            raise ConversionError(f"{where}: {part.path} ({kind}) gives shape {tuple(out.shape)}, what stands for it {tuple(mine.shape)}")
        differing += _differing(out, mine, part.fires)
        deviation, scale = max(deviation, _deviation(out, mine)), max(scale, float(out.abs().max()) if out.numel() else 0.0)
        spikes += _fired(out)
        if potential is not None and found is not None:
            membrane = max(membrane or 0.0, _deviation(potential, found))
    too_many = differing > SPIKES_MAY_DIFFER * max(spikes, 1)
    if too_many or (not differing and not deviation <= VALUES_MAY_DIFFER * max(scale, 1.0)):
        got = f"{differing} of {spikes} spikes differ" if too_many else f"outputs differ by {deviation:.3g}"
        raise ConversionError(f"{where}: {part.path} ({kind}) does not do here what it does in its library: {got}")
    becomes = " → ".join(type(one).__name__ for one in (part.ours if isinstance(part.ours, SpikingSequential) else [part.ours]))
    return LayerMatch(part.path, kind, becomes, part.words, spikes if part.fires else None, differing, deviation, membrane)


def _run(module: nn.Module, x: Tensor, path: str) -> tuple[Tensor, Tensor | None]:
    """The result, and the membrane of a neuron that shows it."""
    if isinstance(module, LIF | CubaLIF):
        trace = module.trace(x)
        return trace.spikes, trace.v
    return step_through(module, x, None, None, path)[0], None


def _own_drives(part: Part, x: Tensor, source: Stream) -> list[Tensor]:
    """For a layer that fires, inputs from half its threshold below zero to one and a half times its threshold above."""
    neuron = next((module for module in part.ours.modules() if isinstance(module, LIF | CubaLIF)), None)
    if not part.fires or neuron is None:
        return []
    gain = neuron._leak()["gain"]
    level = torch.as_tensor(neuron.v_threshold / gain, dtype=x.dtype)
    level = torch.where(level.isfinite() & (level != 0), level.abs(), torch.ones_like(level))
    return [(2 * source.uniform(x.shape, like=x) - 0.5) * level]


def _fired(x: Tensor) -> int:
    return int((x != 0).sum())


def _differing(x: Tensor, y: Tensor, fires: bool) -> int:
    return int(((x != 0) != (y != 0)).sum()) if fires else 0


def _deviation(x: Tensor, y: Tensor) -> float:
    return float((x - y).abs().max()) if x.numel() else 0.0
