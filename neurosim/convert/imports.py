"""What imports from other libraries share: the layers of a model in order, the drive, the network that comes out."""

from __future__ import annotations

import contextlib
import copy
import math
from collections import OrderedDict
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from typing import Any, Final, NamedTuple

import torch
from torch import Tensor, nn

from neurosim import checks
from neurosim.convert.equivalence import Part, verified
from neurosim.errors import ConfigError, ConversionError
from neurosim.nn.time import SpikingSequential
from neurosim.random import stream

_TAKEN: Final = ("training", "input", "sources", "output", "order", "delayed", "exchange")
_NOT_STATELESS: Final = (nn.RNNBase, nn.RNNCellBase, nn.ModuleList, nn.ModuleDict)


class Drive(NamedTuple):
    """What both networks are run on."""

    input_shape: Sequence[int] | None  #: of one sample; None: told by the first layer
    time_steps: int
    batch: int
    seed: int
    drive: Tensor | None  #: ``(time, batch, *)``; None: standard normal numbers


def in_order(where: str, layers: Sequence[nn.Module], opens: Callable[[nn.Module], bool]) -> list[tuple[str, nn.Module]]:
    """The layers of a model, or of several, with their paths.

    Args:
        where: The function that imports, for messages.
        layers: One model, or layers in order.
        opens: Whether a module is a container whose children run one after the other.

    Raises:
        ConversionError: There is none, or a layer is used twice.
    """
    if not layers:
        raise ConfigError(f"{where}: a model or its layers in order must be given, got nothing")
    for layer in layers:
        if not isinstance(layer, nn.Module):
            raise ConfigError(f"{where}: every layer must be a torch.nn.Module, got {type(layer).__name__}")
    named: Iterable[tuple[str, nn.Module]] = [("", layers[0])] if len(layers) == 1 else [(str(i), layer) for i, layer in enumerate(layers)]
    found = [pair for path, layer in named for pair in _opened(path, layer, opens)]
    if not found:
        raise ConversionError(f"{where}: the model must have layers, got none")
    if len({id(layer) for _, layer in found}) < len(found):
        raise ConversionError(f"{where}: a layer is used twice: what one use leaves in its state the other would find")
    return found


def _opened(path: str, layer: nn.Module, opens: Callable[[nn.Module], bool]) -> Iterator[tuple[str, nn.Module]]:
    if not opens(layer):
        yield path or "model", layer
        return
    for name, child in layer.named_children():
        yield from _opened(f"{path}.{name}" if path else name, child, opens)


def is_plain_sequential(module: nn.Module) -> bool:
    """Whether it is ``nn.Sequential``, or a subclass that calls its children as it does."""
    return isinstance(module, nn.Sequential) and type(module).forward is nn.Sequential.forward


def refuse(where: str, path: str, layer: nn.Module, reason: str) -> ConversionError:
    """The error that says why a layer cannot be imported."""
    return ConversionError(f"{where}: {path} ({type(layer).__name__}) cannot be imported exactly: {reason}")


@contextlib.contextmanager
def refusing(where: str, path: str, layer: nn.Module) -> Generator[None]:
    """What a neuron of ours says of its parameters, as the reason why a layer cannot be imported."""
    try:
        yield
    except ConfigError as error:
        raise refuse(where, path, layer, str(error)) from error


def stateless(where: str, path: str, layer: nn.Module) -> nn.Module:
    """A copy of a layer that has no state, to be folded over time.

    Raises:
        ConversionError: It is not a layer of torch without state.
    """
    if not type(layer).__module__.startswith("torch.nn.") or isinstance(layer, _NOT_STATELESS):
        known = "only its neurons and layers of torch without state are known"
        hint = "; of a model with a forward of its own, pass the layers in the order in which it calls them" * bool(list(layer.children()))
        raise refuse(where, path, layer, known + hint)
    copy_of: nn.Module = copied(layer)
    return copy_of


def as_it_is(layer: nn.Module) -> str:
    """What the report says of a layer that is folded over time instead of being called at every step."""
    norm = isinstance(layer, nn.modules.batchnorm._BatchNorm)
    return "as it is; in training, its statistics are those of all steps" if norm else "as it is"


def copied(layer: nn.Module) -> Any:
    """A deep copy; what a layer keeps of a graph, such as a hidden state, is copied without it."""
    memo: dict[int, Any] = {}
    for module in layer.modules():
        for kept in vars(module).values():
            for value in (kept, *kept.values()) if isinstance(kept, dict) else (kept,):
                if isinstance(value, Tensor) and not value.is_leaf:
                    memo[id(value)] = value.detach().clone()
    return copy.deepcopy(layer, memo)


def stepwise(layer: nn.Module) -> Callable[[Tensor], tuple[Tensor, None]]:
    """A stateless layer of the source as it is run there: step by step, in evaluation mode."""
    source = copied(layer).eval()
    return lambda x: (torch.stack([source(step) for step in x.unbind(0)]), None)


def whole(layer: nn.Module) -> Callable[[Tensor], tuple[Tensor, None]]:
    """A stateless layer that the source calls on ``(time, batch, *)``, in evaluation mode."""
    source = copied(layer).eval()
    return lambda x: (source(x), None)


def imported(where: str, library: str, parts: Sequence[Part], settings: Drive) -> SpikingSequential:
    """The network of what stands for the layers, compared with its source, with the report at ``network.exchange``.

    Raises:
        ConfigError: The drive does not fit.
        ConversionError: The networks differ.
    """
    drive = _drive(where, parts, settings)
    for part in parts:
        part.ours.eval()
    report = verified(where, library, parts, drive, settings.seed)
    for part in parts:
        part.ours.train(part.layer.training)
    network = SpikingSequential(OrderedDict((module_name(part.path), part.ours) for part in parts))
    network.exchange = report
    return network


def module_name(path: str) -> str:
    """A path as the name of a module of a chain or a graph: without dots, and no name that those use themselves."""
    name = path.replace(".", "_") or "layer"
    return f"{name}_" if hasattr(SpikingSequential, name) or name in _TAKEN else name


def _drive(where: str, parts: Sequence[Part], settings: Drive) -> Tensor:
    if settings.drive is not None:
        if settings.drive.dim() < 3 or not settings.drive.is_floating_point() or not settings.drive.numel():
            got = f"{settings.drive.dtype} of shape {tuple(settings.drive.shape)}"
            raise ConfigError(f"{where}: drive must be floating point, (time, batch, *units), not empty, got {got}")
        return settings.drive
    for name in ("time_steps", "batch"):
        checks.whole(f"{where}: {name}", getattr(settings, name), 1)
    shape = settings.input_shape if settings.input_shape is not None else _told(parts[0].ours)
    if shape is None:
        kind = type(parts[0].layer).__name__
        raise ConfigError(f"{where}: input_shape must be given, the shape of one sample: the first layer, {kind}, does not tell it")
    if not len(shape) or any(type(size) is not int or size < 1 for size in shape):
        raise ConfigError(f"{where}: input_shape must be integers > 0, got {shape!r:.60}")
    tensors = [value for part in parts for value in part.layer.state_dict().values() if value.is_floating_point()]
    like = tensors[0] if tensors else torch.empty(0)
    if math.prod(shape) * settings.time_steps * settings.batch > 1 << 28:
        raise ConfigError(f"{where}: the random drive must have fewer than 2^28 elements; lower time_steps or batch, or give drive")
    return stream(settings.seed, "exchange", "drive").normal((settings.time_steps, settings.batch, *shape), like=like)


def _told(first: nn.Module) -> tuple[int, ...] | None:
    """The shape of a sample, where the first module of the network tells it."""
    inner: Any = next(first.modules()) if not isinstance(first, SpikingSequential) else first[0]
    if isinstance(inner, nn.Linear):
        return (inner.in_features,)
    shapes = [tuple(value.shape) for value in inner.buffers() if value.dim()]
    return max(shapes, key=math.prod) if shapes else None
