"""Which inputs of a product are left out: scores, centres and thresholds, as functions of tensors."""

from __future__ import annotations

from typing import Final, Literal, get_args

import torch
from torch import Tensor

from neurosim.checks import number, one_of, whole
from neurosim.errors import ConfigError

Centre = Literal["zero", "median", "kde"]
CENTRES: Final = get_args(Centre)
_KEPT: Final = 1 << 12  #: numbers that a density is estimated from
_PLACES: Final = 512  #: where it is evaluated
_ATOM: Final = 0.05  #: share of equal numbers from which on they are the mode


def check_sparsity(where: str, sparsity: object) -> float:
    """A share of zeros, in 0 … 1, without 1.

    Raises:
        ConfigError: It is none.
    """
    return number(where, sparsity, ge=0, lt=1)


def magnitude_threshold(scores: Tensor, sparsity: float, axis: int | None = None) -> Tensor:
    r"""The threshold below which a share of magnitudes lies: a magnitude is left out if it is not above it.

    .. math:: t = \min\{\tau : P(|x| \le \tau) \ge s\}

    With s = 0 it is −1, which leaves out nothing. For inputs that are symmetric about 0 it is :math:`F^{-1}(1/2 + s/2)` of their own
    distribution, which the authors' code takes; for others, such as those behind a ReLU, that would miss s.

    Args:
        scores: Inputs, or their magnitudes times weights.
        sparsity: s, in 0 … 1, without 1.
        axis: None is one threshold for all (TEAL); else one for every place on that axis (in the manner of CHESS).

    Shapes:
        Result ``()`` or ``(length of the axis,)``.

    Raises:
        ConfigError: The sparsity is out of its domain, there are no scores, or there is no such axis.

    Source:
        J. Liu et al., "Training-free activation sparsity in large language models", ICLR 2025 (TEAL), definition 1; J. He et al., "CHESS:
        optimizing LLM inference via channel-wise thresholding and selective sparsification", EMNLP 2024, for thresholds of channels.

    >>> magnitude_threshold(torch.tensor([0.5, -2.0, 1.0, -3.0]), 0.5)
    tensor(1.)
    """
    share = check_sparsity("magnitude_threshold: sparsity", sparsity)
    if not scores.numel():
        raise ConfigError("magnitude_threshold: there must be scores, got none")
    values = scores.abs().flatten()
    if axis is not None:
        values = scores.abs().movedim(_axis("magnitude_threshold", scores, axis), 0).flatten(1)
    count = int(share * values.shape[-1] + 1e-9)
    if count == 0:
        return torch.full_like(values[..., 0], -1.0)
    return values.kthvalue(count, dim=-1).values


def centre_of(x: Tensor, kind: Centre) -> Tensor:
    """Around which number inputs are to be cut: 0, their median, or the peak of their density.

    Args:
        x: Inputs of any shape.
        kind: ``zero``, ``median`` (of an even number the lower one) or ``kde``; see :func:`kde_mode`.

    Returns:
        A scalar.

    Raises:
        ConfigError: There is no such kind, or no input.

    Source:
        V. S. Chua, Y. Pan, N. Jain, "Post-training statistical calibration for higher activation sparsity", 2024 (SCAP), section 3.
    """
    one_of("centre_of: kind", kind, CENTRES)
    if not x.numel():
        raise ConfigError("centre_of: there must be inputs, got none")
    if kind == "zero":
        return x.new_zeros(())
    return x.flatten().median() if kind == "median" else kde_mode(x)


def kde_mode(x: Tensor) -> Tensor:
    r"""The peak of a density that is estimated with Gaussian kernels.

    .. math:: \hat f(z) = \frac{1}{n h}\sum_i \varphi\Big(\frac{z - x_i}{h}\Big), \qquad
        h = 0.9 \min\Big(\sigma, \frac{q_{3/4} - q_{1/4}}{1.34}\Big) n^{-1/5}

    A number that at least a twentieth of the inputs are equal to is where the density is infinite: the most frequent of those is the mode,
    such as 0 behind a ReLU.

    Args:
        x: Inputs of any shape; of more than 4096 so many are taken, evenly spread by rank.

    Returns:
        A scalar.

    Source:
        B. W. Silverman, "Density estimation for statistics and data analysis", 1986, equation 3.31, for the bandwidth.

    >>> kde_mode(torch.tensor([0.0, 0.0, 3.0, 4.0]))
    tensor(0.)
    """
    values = x.detach().flatten().double().sort().values
    found, counts = torch.unique_consecutive(values, return_counts=True)
    if int(counts.max()) >= max(2.0, _ATOM * len(values)) or len(values) < 3:
        return torch.take(found, counts.argmax()).to(x.dtype)
    values = _by_rank(values, _KEPT)
    quarters = values[torch.tensor([len(values) // 4, 3 * len(values) // 4], device=x.device)]
    spread = float((quarters[1] - quarters[0]) / 1.34)
    deviation = float(values.std(correction=0))
    width = 0.9 * (min(deviation, spread) if spread > 0 else deviation) * len(values) ** -0.2

    def highest(places: Tensor) -> int:
        return int(torch.exp(-((places[:, None] - values) / width).square() / 2).sum(1).argmax())

    low, high = float(values[0]), float(values[-1])
    if high - low > (_PLACES - 1) * width:  # kernels have room between places; but every peak has an input within the bandwidth
        inputs = _by_rank(values, _PLACES)
        nearest = float(inputs[highest(inputs)])
        low, high = nearest - width, nearest + width
    for _ in range(2):  # coarsely over all, then between the neighbours of the best place
        places = torch.linspace(low, high, _PLACES, dtype=torch.float64, device=x.device)
        at = highest(places)
        low, high = float(places[max(at - 1, 0)]), float(places[min(at + 1, _PLACES - 1)])
    return places[at].to(x.dtype)


def _by_rank(values: Tensor, most: int) -> Tensor:
    """So many of sorted numbers at most, evenly spread by rank."""
    if len(values) <= most:
        return values
    return values[torch.linspace(0, len(values) - 1, most, device=values.device, dtype=torch.float64).round().long()]


def column_norms(weight: Tensor, groups: int = 1, *, transposed: bool = False) -> Tensor:
    r""":math:`\|W_{:,i}\|_2`, how much an input can do: over all outputs, and all taps of a convolution.

    Args:
        weight: Of a linear layer ``(outputs, inputs)``, or of a convolution ``(outputs, inputs / groups, *taps)``; of a transposed one
            ``(inputs, outputs / groups, *taps)``.
        groups: Of a convolution.
        transposed: Whether it is a transposed one.

    Shapes:
        Result ``(inputs,)``.

    Raises:
        ConfigError: It is the weight of no such layer.

    Source:
        S. Chen et al., "WINA: weight informed neuron activation for accelerating large language model inference", 2025.

    >>> column_norms(torch.tensor([[3.0, 0.0], [4.0, 1.0]]))
    tensor([5., 1.])
    """
    if weight.dim() < 2 or len(weight) % whole("column_norms: groups", groups, 1):
        raise ConfigError(f"column_norms: weight must have two axes or more, the first a multiple of {groups}, got {tuple(weight.shape)}")
    if transposed:
        norms: Tensor = torch.linalg.vector_norm(weight.flatten(1), dim=1)
        return norms
    grouped = weight.reshape(groups, -1, weight.shape[1], weight[0, 0].numel())
    columns: Tensor = torch.linalg.vector_norm(grouped, dim=(1, 3))
    return columns.flatten()


def above(scores: Tensor, threshold: Tensor) -> Tensor:
    """Which scores are kept by thresholds: True where the magnitude exceeds them, or is NaN, which is thus not hidden."""
    return ~(scores.abs() <= threshold)


def largest(scores: Tensor, sparsity: float, axis: int = -1) -> Tensor:
    """Which scores are kept of each vector: all but the floor of s·d smallest magnitudes; of equal ones so many that the count is right.

    Args:
        scores: Any shape.
        sparsity: s, in 0 … 1, without 1.
        axis: That of the vectors, of d elements.

    Returns:
        A mask like ``scores``.

    Raises:
        ConfigError: The sparsity is out of its domain, or there is no such axis.

    >>> largest(torch.tensor([0.5, -2.0, 1.0, -3.0]), 0.5)
    tensor([False,  True, False,  True])
    """
    length = scores.shape[_axis("largest", scores, axis)]
    kept = length - int(check_sparsity("largest: sparsity", sparsity) * length + 1e-9)
    at = scores.abs().topk(kept, dim=axis).indices
    return torch.zeros_like(scores, dtype=torch.bool).scatter(axis, at, True)


def _axis(where: str, x: Tensor, axis: int) -> int:
    """An axis that a tensor has."""
    if not -x.dim() <= axis < x.dim():
        raise ConfigError(f"{where}: axis must be one of scores of shape {tuple(x.shape)}, got {axis}")
    return axis
