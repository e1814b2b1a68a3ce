"""The chains of several chips as one: signals of all of them pass together, each through the errors of its own chip."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from neurosim.hardware.chain import LayerSpec
from neurosim.hardware.layout import Layout
from neurosim.hardware.stage import Context, Mode
from neurosim.hardware.stages.scale import Scale
from neurosim.nn.chain import AnalogChain
from neurosim.nn.kept import Kept


def alike(chains: Sequence[AnalogChain]) -> bool:
    """Whether chips differ in nothing but their seeds, and in learned numbers that signals of each meet by themselves."""
    first = chains[0]
    state = first.spec, first.modes, first.seconds, first.strength, first.calls
    if any((chain.spec, chain.modes, chain.seconds, chain.strength, chain.calls) != state for chain in chains[1:]):
        return False
    scale = first.slots.get("input.scale")
    if not isinstance(scale, Scale) or not scale.retries:
        return True
    ends = [full for _, full in first.trained.get("output.adc", ())]  # by those of one chip it is seen which vectors are sent again
    return all(torch.equal(getattr(chain, name), getattr(first, name)) for chain in chains[1:] for name in ends)


def through(chains: Sequence[AnalogChain], path: str, x: Tensor, call: int) -> Tensor:
    """Signals ``(chips, …)`` behind the stages of a path, each through those of its own chip."""
    passes = [chain.packed(path, call) for chain in chains]
    if any(found is None for found in passes):  # a stage that is not elementwise, or one whose numbers are the chip's own
        return torch.stack([chain.run(path, own, call) for chain, own in zip(chains, x, strict=True)])
    for together in zip(*(found or [] for found in passes), strict=True):
        streams = [
            [chain.source(step, named, call, chain.seconds) for step, named in steps]
            for chain, (_, steps) in zip(chains, together, strict=True)
        ]
        x = together[0][0].rows(x, streams)
    return x


class ChipsChain:
    """What :class:`~neurosim.nn.chain.AnalogChain` is around a product, for chips that are :func:`alike`: every signal has them first.

    Args:
        chains: Of the same layer of every chip, at least one.
    """

    rewritten = False
    maps: tuple[str, ...] = ()

    def __init__(self, chains: Sequence[AnalogChain]) -> None:
        self.chains, self.first = tuple(chains), chains[0]
        self.kept: Kept | None = None  #: what the arrays of all chips hold, while it is kept
        self.seed, self.seconds, self.strength = self.first.seed, self.first.seconds, self.first.strength

    @property
    def spec(self) -> LayerSpec:
        """The specification of all chips."""
        return self.first.spec

    @property
    def layout(self) -> Layout | None:
        """How the matrix of each lies on its arrays."""
        return self.first.layout

    def parameters(self, recurse: bool = True) -> Iterator[nn.Parameter]:
        """What is trained of the stages of every chip."""
        return itertools.chain.from_iterable(chain.parameters(recurse=False) for chain in self.chains)

    @property
    def path(self) -> str:
        """The layer's name."""
        return self.first.path

    @property
    def modes(self) -> Mapping[str, Mode]:
        """Noise mode of every stage."""
        return self.first.modes

    @property
    def slots(self) -> Mapping[str, Any]:
        """The stages."""
        return self.first.slots

    @property
    def steps(self) -> Mapping[str, Sequence[Any]]:
        """The stages of every path."""
        return self.first.steps

    @property
    def watched(self) -> bool:
        """Whether somebody looks at what passes between stages of a chip."""
        return any(chain.watched for chain in self.chains)

    def context(self, slot: str) -> tuple[dict[str, Tensor], Context]:
        """Parameters and context of a structural stage whose parameters are those of all chips."""
        return self.first.context(slot)

    def begin(self) -> int:
        """The number of this use of the layer, which is that of every chip."""
        calls = [chain.begin() for chain in self.chains]  # all of them count
        return calls[0]

    def run(self, path: str, x: Tensor, call: int) -> Tensor:
        """Signals behind the stages of a path."""
        return through(self.chains, path, x, call)

    def encode(self, x: Tensor, call: int) -> Tensor:
        """Signals for digital inputs."""
        return self.run("input", x, call)

    def send(self, x: Tensor, call: int) -> Tensor:
        """Signals of the passes of digital inputs."""
        return self.run("passes", x, call)

    def decode(self, y: Tensor, call: int) -> Tensor:
        """Digital outputs for the summed signals."""
        return self.run("output", y, call)

    def total(self, y: Tensor, call: int) -> Tensor:
        """What becomes of the digital sums over the arrays of a pass."""
        return self.run("sums", y, call) if "sums" in self.steps else y
