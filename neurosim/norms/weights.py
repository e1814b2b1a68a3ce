"""Parametrizations of the rows of a weight: what is computed of them while training, and nothing of it afterwards."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any, Final

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from neurosim.checks import flag, whole
from neurosim.errors import ConfigError, NeurosimError
from neurosim.norms.base import check_model
from neurosim.norms.registry import register

TRANSPOSED: Final = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
LAYERS: Final = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d, *TRANSPOSED)  #: that have rows of weights
_WHERE: Final = "initialize_weight_norm"
_TINY: Final = 1e-12  #: lengths below it count as it, so that a row of zeros stays one


def least_length(like: Tensor, floor: float = _TINY) -> float:
    """That floor, or the smallest normal number of the precision, where it is too small for it.

    >>> least_length(torch.ones(1)), round(least_length(torch.ones(1).half()), 8)
    (1e-12, 6.104e-05)
    """
    return max(floor, torch.finfo(like.dtype).tiny)


class WeightParametrization(nn.Module, ABC):
    """Base: a weight from what is learned, the same in training and evaluation, so that :func:`neurosim.fold` may put its value there.

    Used as ``torch.nn.utils.parametrize.register_parametrization(layer, "weight", WeightNorm())``. A row is all that leads to one output.

    Args:
        dim: Axis of the outputs: 0, but for transposed convolutions 1.
    """

    def __init__(self, dim: int = 0) -> None:
        super().__init__()
        self.dim = whole(f"{type(self).__name__}.dim", dim, 0)

    @abstractmethod
    def forward(self, *learned: Tensor) -> Tensor:
        """The weight."""

    @abstractmethod
    def right_inverse(self, weight: Tensor) -> Any:
        """What is learned at the start, for a weight that is there."""

    def _others(self, weight: Tensor) -> list[int]:
        if not (weight.is_floating_point() and weight.dim() >= 2 and self.dim < weight.dim()):
            raise ConfigError(
                f"{type(self).__name__}: the weight must be floating point with outputs on axis {self.dim} and one axis more, "
                f"got {weight.dtype} of shape {tuple(weight.shape)}"
            )
        return [axis for axis in range(weight.dim()) if axis != self.dim]

    def lengths(self, weight: Tensor) -> Tensor:
        """‖row‖ of every row, with the axes of the weight."""
        lengths: Tensor = torch.linalg.vector_norm(weight, dim=self._others(weight), keepdim=True)
        return lengths

    def _refuse_single(self, weight: Tensor) -> None:
        if weight.numel() == weight.shape[self.dim]:
            raise ConfigError(f"{type(self).__name__}: rows must have two numbers or more, got a weight {tuple(weight.shape)}")

    def extra_repr(self) -> str:
        """For ``print``."""
        return f"dim={self.dim}" if self.dim else ""


@register("weight_norm", "B31", kind="parametrization", formula="W = g v / ‖v‖, row by row", fold="FW")
class WeightNorm(WeightParametrization):
    r"""Weight normalization: direction and length of every row are learned apart, as in torch; its first lengths may come from data.

    .. math:: w_i = g_i\,v_i / \lVert v_i \rVert_2

    What a conductance must reach is bounded by g. It starts as the weight that is there; with ``data_init`` the recipes call
    :func:`initialize_weight_norm` on the first batch.

    Args:
        dim: Axis of the outputs: 0, but for transposed convolutions 1.
        data_init: Whether it waits for data; ``pending`` says so until they came.

    Shapes:
        g like the weight, with 1 on all axes but ``dim``; v like the weight.

    Raises:
        ConfigError: The weight has one axis.

    Source:
        T. Salimans, D. P. Kingma, "Weight normalization: a simple reparameterization to accelerate training of deep neural networks",
        NeurIPS 2016, equation 2; section 3 for the start.

    >>> layer = nn.Linear(2, 1)
    >>> layer.weight.data[:] = torch.tensor([[3.0, 4.0]])
    >>> _ = parametrize.register_parametrization(layer, "weight", WeightNorm())
    >>> layer.parametrizations.weight.original0.item()
    5.0
    """

    def __init__(self, dim: int = 0, *, data_init: bool = False) -> None:
        super().__init__(dim)
        self.pending: Tensor | None
        self.register_buffer("pending", torch.tensor(True) if flag("WeightNorm.data_init", data_init) else None)

    def forward(self, *learned: Tensor) -> Tensor:
        """The weight, of g and v."""
        g, v = learned
        return g * (v / self.lengths(v).clamp_min(least_length(v)))

    def right_inverse(self, weight: Tensor) -> tuple[Tensor, Tensor]:
        """G and v of a weight."""
        return self.lengths(weight), weight


@register("weight_conditioning", "B36", kind="parametrization", formula="W = E V, E = diag(1 / ‖row of V‖)", fold="FW", bounds=(-1.0, 1.0))
class WeightConditioning(WeightParametrization):
    r"""Weight conditioning: rows of length 1, which lowers the condition number of the matrix, and with it how much noise it amplifies.

    .. math:: W = E V, \qquad E = \operatorname{diag}(1 / \lVert v_i \rVert_2)

    Nothing keeps the scale of a row that it is given: an initialiser sets directions alone, and the initialiser ``lsuv``, which scales,
    reports such a layer as missed unless its variance happens to be right.

    Args:
        dim: Axis of the outputs: 0, but for transposed convolutions 1.
        through: Whether gradients go through E, or take it as a constant.

    Shapes:
        V like the weight.

    Raises:
        ConfigError: The weight has one axis.

    Source:
        H. Saratchandran, T. X. Wang, S. Lucey, "Weight conditioning for smooth optimization of neural networks", ECCV 2024: row
        equilibration.

    >>> WeightConditioning()(torch.tensor([[3.0, 4.0], [0.0, 2.0]]))
    tensor([[0.6000, 0.8000],
            [0.0000, 1.0000]])
    """

    def __init__(self, dim: int = 0, *, through: bool = True) -> None:
        super().__init__(dim)
        self.through = flag("WeightConditioning.through", through)

    def forward(self, *learned: Tensor) -> Tensor:
        """The weight, of V."""
        (v,) = learned
        lengths = self.lengths(v).clamp_min(least_length(v))
        return v / (lengths if self.through else lengths.detach())

    def right_inverse(self, weight: Tensor) -> Tensor:
        """V: the weight."""
        return weight


def initialize_weight_norm(model: nn.Module, batch: Tensor) -> list[str]:
    r"""Give layers with weight norm lengths and biases with which their outputs have mean 0 and variance 1 on a batch, in place.

    .. math:: g \leftarrow g / \sigma, \qquad b \leftarrow -\mu / \sigma

    with the mean and deviation that every output has without its bias, over batch and space. Layers are taken in the order in which the
    model calls them first, each on what those before give after their own change. Outputs that do not vary keep their length.

    Args:
        model: A digital model; linear layers and convolutions in it whose weights have a :class:`WeightNorm` are changed.
        batch: What to call it with, in evaluation.

    Returns:
        Paths of these layers.

    Raises:
        ConfigError: What is given is no model, it does not take the batch, or does not pass it through all of these layers; what one of
            them gives of it is not finite; or a length is not that of one output, or waits for data in another kind of layer. The model is
            then as it was.

    Source:
        T. Salimans, D. P. Kingma, NeurIPS 2016, section 3, equations 5 and 6.

    >>> model = nn.Sequential(nn.Linear(8, 4), nn.ReLU())
    >>> _ = parametrize.register_parametrization(model[0], "weight", WeightNorm())
    >>> initialize_weight_norm(model, torch.rand(64, 8))
    ['0']
    >>> model[0](torch.ones(1, 8)).shape
    torch.Size([1, 4])
    """
    check_model(_WHERE, model)
    if not isinstance(batch, Tensor):
        raise ConfigError(f"{_WHERE}: the batch must be a tensor, got a {type(batch).__name__}")
    layers = _normed_layers(model)
    done: set[str] = set()
    handles = [layer.register_forward_pre_hook(partial(_from_input, done, path), with_kwargs=True) for path, layer in layers.items()]
    training = {module: module.training for module in model.modules()}
    try:
        with _undone_on_error(layers), torch.no_grad():
            _call(model.eval(), batch)
            if missed := [path for path in layers if path not in done]:
                raise ConfigError(f"{_WHERE}: the batch must pass every layer with weight norm, did not reach {', '.join(missed)}")
    finally:
        for handle in handles:
            handle.remove()
        for module, before in training.items():
            module.training = before
    return list(layers)


def awaits_data(model: nn.Module) -> bool:
    """Whether a weight norm of the model was made with ``data_init`` and has seen none yet."""
    return any(isinstance(one, WeightNorm) and _waits(one) for one in model.modules())


def _waits(norm: WeightNorm) -> bool:
    return norm.pending is not None and bool(norm.pending)


def _norm_of(layer: nn.Module) -> WeightNorm | None:
    if not parametrize.is_parametrized(layer, "weight"):
        return None
    parts: Any = layer.parametrizations
    first = parts.weight[0]
    return first if isinstance(first, WeightNorm) else None


def _normed_layers(model: nn.Module) -> dict[str, nn.Module]:
    """By path, the layers whose lengths a batch can tell; none may wait elsewhere."""
    layers: dict[str, nn.Module] = {}
    reached = set()
    for path, layer in model.named_modules():
        norm = _norm_of(layer) if isinstance(layer, LAYERS) else None
        if norm is None:
            continue
        if norm.dim != isinstance(layer, TRANSPOSED) or (norm.dim and getattr(layer, "groups", 1) > 1):
            wanted = "0, for transposed convolutions 1 and one group" if isinstance(layer, TRANSPOSED) else "0"
            raise ConfigError(f"{_WHERE}: {path or 'the model'}: must have one length for every output, dim {wanted}, got dim {norm.dim}")
        layers[path] = layer
        reached.add(norm)
    for path, module in model.named_modules():
        if isinstance(module, WeightNorm) and _waits(module) and module not in reached:
            raise ConfigError(
                f"{_WHERE}: {path}: data_init must be that of the weight of a linear layer or convolution, its first parametrization; "
                "make this one without"
            )
    return layers


@contextmanager
def _undone_on_error(layers: Mapping[str, nn.Module]) -> Iterator[None]:
    """Lengths, biases and what waits, as they were, if something fails."""
    before = [(value, value.detach().clone()) for layer in layers.values() for value in (*layer.parameters(), *layer.buffers())]
    try:
        yield
    except BaseException:
        with torch.no_grad():
            for value, old in before:
                value.copy_(old)
        raise


def _call(model: nn.Module, batch: Tensor) -> None:
    try:
        model(batch)
    except NeurosimError:
        raise
    except (RuntimeError, ValueError, IndexError, TypeError) as error:
        reason = " ".join(str(error).split())[:200]
        raise ConfigError(f"{_WHERE}: the model must take a batch of shape {tuple(batch.shape)}; it failed: {reason}") from error


def _from_input(done: set[str], path: str, layer: Any, inputs: Any, named: Any) -> None:
    if path in done:
        return
    bias = layer.bias
    y: Tensor = layer.forward(*inputs, **named)
    axis = y.dim() - layer.weight.dim() + 1
    over = [other for other in range(y.dim()) if other != axis]
    if bias is not None:
        y = y - bias.reshape(-1, *(1,) * (y.dim() - axis - 1))
    deviation, mean = torch.std_mean(y, dim=over, correction=0)
    if not bool((deviation + mean).isfinite().all()):
        raise ConfigError(f"{_WHERE}: what {path or 'the model'} gives of the batch must be finite, got NaN or infinity")
    deviation = torch.where(deviation > least_length(deviation), deviation, 1)
    lengths = layer.parametrizations.weight.original0
    lengths.div_(deviation.reshape(lengths.shape))
    if bias is not None:
        bias.copy_(-mean / deviation)
    norm = _norm_of(layer)
    if norm is not None and norm.pending is not None:
        norm.pending.fill_(False)
    done.add(path)
