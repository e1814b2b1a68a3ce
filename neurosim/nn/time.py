"""Stateless layers over a time axis, and chains of them with neurons.

Neurons take ``(time, batch, *units)``. A convolution, a linear layer, a norm or a pooling takes ``(batch, *)`` and would mistake one axis
for another: :class:`TimeFold` runs it on all steps at once, as a batch of time × batch samples, and :class:`SpikingSequential` does so for
every layer that does not take time itself.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, ClassVar, Final

from torch import Tensor, nn

from neurosim.errors import ConfigError
from neurosim.random import Stream

#: classes of other libraries, by name so that nothing is imported, that carry a state from step to step or want the whole sequence
_STATEFUL: Final[dict[str, tuple[str, ...]]] = {
    "snntorch": ("SpikingNeuron", "LeakyParallel", "LeakyKernel"),
    "norse": (
        *("SNN", "SNNCell", "SNNRecurrent", "SNNRecurrentCell", "SequentialState", "RecurrentSequential", "Lift"),
        *("LILinearCell", "CobaLIFCell", "LIFCorrelation", "ExpFilter", "RegularizationCell", "TemporalReceptiveField"),
    ),
    "spikingjelly": ("MemoryModule", "MultiStepModule", "SpikingRNNCellBase", "SpikingRNNBase"),
}
State = tuple[Any, ...]  #: what a module that takes time hands from one chunk of a sequence to the next; NamedTuples nest in it


def takes_time(module: nn.Module) -> bool:
    """Whether a module takes ``(time, batch, *)`` itself: a neuron, or what declares ``takes_time = True``."""
    return callable(getattr(module, "run", None)) or bool(getattr(module, "takes_time", False))


def over_time(function: Callable[[Tensor], Any], x: Any, where: str = "over_time") -> Tensor:
    """``function`` of every step of a sequence, computed in one call on a batch of time × batch samples.

    Args:
        function: Takes ``(samples, *)`` and gives a tensor, one result a sample.
        x: A tensor ``(time, batch, *)``.
        where: What messages call it.

    Returns:
        ``(time, batch, *)``.

    Raises:
        ConfigError: ``x`` has no axes for time and batch, the function does not take a step of it, or there are more or fewer results than
            samples.

    >>> import torch
    >>> over_time(nn.AvgPool2d(2), torch.ones(5, 2, 3, 8, 8)).shape
    torch.Size([5, 2, 3, 4, 4])
    """
    if not isinstance(x, Tensor) or x.dim() < 2:
        got = f"shape {tuple(x.shape)}" if isinstance(x, Tensor) else type(x).__name__
        raise ConfigError(f"{where}: x must be a tensor (time, batch, *), got {got}")
    time, batch = x.shape[:2]
    if isinstance(function, nn.modules.conv._ConvNd) and x.dim() != function.weight.dim() + 1:  # or torch takes it for one sample
        raise _misfit(function, x, where, f"a step has {function.weight.dim()} axes, (batch, channels, *)")
    try:
        y = function(x.flatten(0, 1))
    except (RuntimeError, ValueError, IndexError) as error:
        if type(error) not in (RuntimeError, ValueError, IndexError):  # errors of ours, and of memory, say themselves what is wrong
            raise
        raise _misfit(function, x, where, " ".join(str(error).split())) from error
    if not isinstance(y, Tensor) or y.dim() < 1 or y.shape[0] != time * batch:
        got = f"shape {tuple(y.shape)}" if isinstance(y, Tensor) else type(y).__name__
        raise ConfigError(f"{where}: must give one result for each of the {time * batch} samples, time × batch, got {got}")
    return y.reshape(time, batch, *y.shape[1:])


def _misfit(function: object, x: Tensor, where: str, reason: str) -> ConfigError:
    name = f"{type(function).__name__}({function.extra_repr()})" if isinstance(function, nn.Module) else "the function"
    return ConfigError(f"{where}: x must be steps that {name} takes, got (time, batch, *) of shape {tuple(x.shape)}: {reason}"[:500])


class TimeFold(nn.Module):
    """A stateless layer over the time axis: all steps in one call, as samples of one batch.

    Batch norms inside it take their statistics over time and batch together, dropout draws a mask for every step.

    Args:
        module: Takes ``(batch, *)``: a layer of torch, or a whole network without neurons.

    Shapes:
        x ``(time, batch, *)``; result ``(time, batch, *)``.

    Raises:
        ConfigError: The module holds layers that need the time axis, or neurons of another library.

    >>> import torch
    >>> TimeFold(nn.Linear(3, 4))(torch.zeros(5, 2, 3)).shape
    torch.Size([5, 2, 4])
    """

    takes_time: ClassVar = True

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        if not isinstance(module, nn.Module):
            raise ConfigError(f"TimeFold: module must be a torch.nn.Module, got {type(module).__name__}")
        refuse_time(module, "TimeFold")
        self.module = module

    def forward(self, x: Tensor) -> Tensor:
        """The module's result for every step."""
        return over_time(self.module, x, f"TimeFold({type(self.module).__name__})")


class SpikingModule(nn.Module, ABC):
    """Base of networks that take ``(time, batch, *)`` and hold neurons; like a neuron, they keep nothing between calls."""

    conversion: Any  #: the report of the conversion that made the network or put it on hardware, if one did
    exchange: Any  #: the report of the import that made the network, if one did

    def forward(self, x: Tensor, *, stream: Stream | None = None) -> Tensor:
        """The result for every step, from rest; see :meth:`run`."""
        return self.run(x, stream=stream)[0]

    @abstractmethod
    def run(self, x: Tensor, state: State | None = None, *, stream: Stream | None = None) -> tuple[Tensor, State]:
        """The result for every step, and the state to hand to the next chunk; ``None`` starts from rest.

        Args:
            x: ``(time, batch, *)``.
            state: What the chunk before returned.
            stream: Source of the noise, if neurons have any; each draws from a child of it, named after its place.
        """


class SpikingSequential(SpikingModule):
    """One module after the other; those that do not take time are folded, so that a digital layer stands beside a neuron as it is.

    Args:
        modules: The modules, or one ordered mapping of names to them, as in ``nn.Sequential``.

    Shapes:
        x ``(time, batch, *)``; result ``(time, batch, *)``. The state has one entry a module, ``None`` where it keeps none.

    Raises:
        ConfigError: A module that is to be folded holds neurons: it must be a ``SpikingSequential`` itself, with neurons of this library.
            A state does not fit.

    >>> import torch
    >>> from neurosim.neurons import LIF
    >>> net = SpikingSequential(nn.Conv2d(1, 4, 3), LIF(20e-3, 1e-3), nn.Flatten(), nn.Linear(16, 10))
    >>> y, state = net.run(torch.rand(5, 2, 1, 4, 4))
    >>> y.shape, net.run(torch.rand(3, 2, 1, 4, 4), state)[0].shape  # the second chunk goes on where the first ended
    (torch.Size([5, 2, 10]), torch.Size([3, 2, 10]))
    """

    def __init__(self, *modules: nn.Module | OrderedDict[str, nn.Module]) -> None:
        super().__init__()
        named = modules[0].items() if len(modules) == 1 and isinstance(modules[0], OrderedDict) else enumerate(modules)
        for name, module in named:
            if not isinstance(module, nn.Module):
                raise ConfigError(f"SpikingSequential: {name} must be a torch.nn.Module, got {type(module).__name__}")
            if not takes_time(module):
                refuse_time(module, f"SpikingSequential: {name}")
            self.add_module(str(name), module)

    def __len__(self) -> int:
        return len(self._modules)

    def __iter__(self) -> Any:
        return iter(self._modules.values())

    def __getitem__(self, index: int) -> Any:
        return list(self)[index]

    def run(self, x: Tensor, state: State | None = None, *, stream: Stream | None = None) -> tuple[Tensor, State]:
        """The last module's result for every step, and the states of all."""
        before = check_states("SpikingSequential", state, len(self))
        after: list[Any] = []
        for name, module, old in zip(self._modules, self, before, strict=True):  # a module may be there twice
            x, new = step_through(module, x, old, stream, name)
            after.append(new)
        return x, tuple(after)


class SpikingResidual(SpikingModule):
    """The sum of a branch and of a shortcut: ``body(x) + shortcut(x)``.

    With a neuron at the end of the body it is the spike-element-wise residual, whose sums count spikes (0, 1, 2, …); with the neuron at its
    beginning, the membrane shortcut.

    Args:
        body: The branch.
        shortcut: What the other branch does; None passes ``x`` on.

    Shapes:
        x ``(time, batch, *)``; both branches give the same shape.

    Raises:
        ConfigError: The branches give different shapes, or a state does not fit.

    Source:
        W. Fang et al., "Deep residual learning in spiking neural networks", NeurIPS 2021, eq. 4, ADD (spike-element-wise); Y. Hu et al.,
        "Advancing spiking neural networks toward deep residual learning", IEEE TNNLS 36 (2025) 2353–2367 (membrane shortcut).
    """

    def __init__(self, body: nn.Module, shortcut: nn.Module | None = None) -> None:
        super().__init__()
        for name, module in (("body", body), ("shortcut", shortcut)):
            if module is not None and not takes_time(module):
                refuse_time(module, f"SpikingResidual: {name}")
        self.body, self.shortcut = body, shortcut

    def run(self, x: Tensor, state: State | None = None, *, stream: Stream | None = None) -> tuple[Tensor, State]:
        """The sum for every step, and the states of both branches."""
        left, right = check_states("SpikingResidual", state, 2)
        y, left = step_through(self.body, x, left, stream, "body")
        if self.shortcut is not None:
            x, right = step_through(self.shortcut, x, right, stream, "shortcut")
        if y.shape != x.shape:
            raise ConfigError(f"SpikingResidual: both branches must give the same shape, got {tuple(y.shape)} and {tuple(x.shape)}")
        return y + x, (left, right)


def step_through(module: nn.Module, x: Tensor, state: Any, stream: Stream | None, name: str) -> tuple[Tensor, Any]:
    """One module of a network on ``(time, batch, *)``: run, called, or folded, as it is; and its next state."""
    run = getattr(module, "run", None)
    if callable(run):
        y, after = run(x, state, stream=None if stream is None else stream.child(name))
        return y, after
    return (module(x) if takes_time(module) else over_time(module, x, f"{name} ({type(module).__name__})")), None


def check_states(where: str, state: object, count: int) -> State:
    """The states of ``count`` modules, each None at rest.

    Raises:
        ConfigError: It is not what ``run`` returned.
    """
    if state is None:
        return (None,) * count
    if not isinstance(state, tuple) or len(state) != count:
        got = f"a tuple of {len(state)}" if isinstance(state, tuple) else type(state).__name__
        raise ConfigError(f"{where}: state must be what run returned, a tuple of {count}, got {got}")
    return state


def refuse_time(module: nn.Module, where: str) -> None:
    """Raise if folding would hide the time axis from something that needs it, of other libraries too."""
    for path, part in module.named_modules():
        if takes_time(part):
            kind = type(part).__name__
            place = f"holds {kind} at {path!r}" if path else f"is {kind}"
            raise ConfigError(
                f"{where}: a module that is run on time × batch samples must not need the time axis, but it {place}; "
                "chain modules with neurons by SpikingSequential"
            )
        if library := _stateful_in(type(part)):
            place = f"{path!r} is a {type(part).__name__}" if path else f"it is a {type(part).__name__}"
            raise ConfigError(
                f"{where}: a module that is run on time × batch samples must need one step only, but {place} of {library}, which goes from "
                f"step to step; import the network first: neurosim.from_{library}"
            )


def _stateful_in(kind: type[nn.Module]) -> str | None:
    """The other library whose modules with a state this class derives from; None if it derives from none."""
    for base in kind.__mro__:
        library = base.__module__.partition(".")[0]
        if base.__name__ in _STATEFUL.get(library, ()):
            return library
    return None
