"""Where norms stand around the branches of a residual network: before, behind, on both sides, or on the stream."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from neurosim.checks import flag, one_of, whole
from neurosim.errors import ConfigError
from neurosim.norms.base import Cost, Norm, Operations
from neurosim.norms.choice import Chosen, chosen_norm
from neurosim.norms.placing import scale_weights
from neurosim.norms.registry import register

Placement = Literal["none", "pre", "post", "mid", "peri", "sandwich", "deep", "hybrid", "mix"]


def mix_placement(index: int, count: int, share: float = 0.25) -> Literal["post", "pre"]:
    """Mix-LN: the first quarter of the layers, rounded down, is Post-LN and the others are Pre-LN.

    >>> [mix_placement(index, 8) for index in (1, 2, 3)]
    ['post', 'post', 'pre']
    """
    return "post" if index <= math.floor(share * count) else "pre"


def deep_gains(count: int) -> tuple[float, float]:
    """DeepNorm of a stream with so many residual branches: α = M^¼ of the stream, and β = (4M)^−¼ of the weights of branches.

    The authors count layers of two branches each, N = M/2: (2N)^¼ and (8N)^−¼ for an encoder alone, or a decoder alone.

    >>> deep_gains(16)
    (2.0, 0.3535533905932738)
    """
    whole("deep_gains.count", count, 1)
    return count**0.25, (4 * count) ** -0.25


@register(
    "residual",
    "B27",
    kind="wrapper",
    formula="y = x + f(N(x)), or with N elsewhere: N(x + f(x)), x + N(f(x)), x + N(f(N(x))), N(α x + f(x)), N(x) + f(N(x))",
    stats="sample",
    fold="F2",
    example=lambda: Residual(nn.Linear(16, 16), 16, placement="peri"),
    usage="ns.norms.Residual(branch, features, norm, placement) around every branch, ns.norms.residual_stack(branches, features), or norm "
    "and placement of the models residual_mlp and residual_cnn",
)
class Residual(nn.Module):
    r"""A residual branch with any norm of the catalogue where the placement says.

    ==================== ============================================================================================================
    placement            y, with N the norm and f the branch
    ==================== ============================================================================================================
    ``pre``              x + f(N(x)): Pre-LN
    ``post``             N(x + f(x)): Post-LN
    ``mid``              x + N(f(x)): the branch alone is normalised
    ``peri, sandwich``   x + N(f(N(x))): Peri-LN, Sandwich-LN, with norms of their own on both sides
    ``deep``             N(α x + f(x)), α = M^¼ with M = ``count``: DeepNorm; the weights of f are to start with a gain of (4M)^−¼
    ``hybrid``           N(x) + f(N(x)): the feed-forward half of HybridNorm, whose attention has norms of queries, keys and values
    ``mix``              ``post`` in the first quarter of the layers, ``pre`` in the others: Mix-LN
    ``none``             x + f(x): the norm is left out, for comparison
    ==================== ============================================================================================================

    Its parts are ``stream``, ``path`` (with the branch as ``path.branch``) and ``outside``; those that do nothing are empty. On hardware,
    the norm behind the branch (``mid``, ``peri``) bounds what the branch adds, and with it the range of converters; that of
    ``post`` bounds the stream. What folds is that of the norm.

    Args:
        branch: f, a module that keeps the shape.
        features: Channels.
        norm: Of a module in ``NORMS`` for single samples: its name, or a mapping with ``kind`` and its arguments; of one by statistics of
            every sample also ``freeze``: batches of training before a :class:`FreezingNorm` freezes them, or ``[first, gap]``, where
            every further layer is frozen so many batches later.
        placement: See the table.
        index: Of this layer, from 1; for ``mix``, for norms that depend on the depth, and for ``freeze``.
        count: Layers in all, for ``mix`` and ``deep``.
        channel_dim: Axis of the channels: 1 for ``(batch, C, *)``, −1 for ``(batch, length, C)``.
        shortcut: In the place of x where the branch is added, a module; None: x itself. Of ``hybrid``, it is given N(x).
        outputs: Channels behind the branch, where the shortcut gives others; None: ``features``.

    Shapes:
        x ``(batch, C, *)``, or what ``channel_dim`` says; result the same, or as the shortcut has it.

    Raises:
        ConfigError: An argument is not as above, the norm does not take such inputs, or the branch has another shape than the shortcut.

    Source:
        R. Xiong et al., "On layer normalization in the transformer architecture", ICML 2020 (``post``, ``pre``); M. Ding et al.,
        "CogView", NeurIPS 2021 (``sandwich``); J. Kim et al., "Peri-LN", ICML 2025; H. Wang et al., "DeepNet: scaling transformers to
        1,000 layers", 2022 (``deep``); Z. Zhuo et al., "HybridNorm", NeurIPS 2025; P. Li et al., "Mix-LN", 2024.

    >>> Residual(nn.Identity(), 2, {"kind": "rms", "eps": 1e-12}, "post")(torch.tensor([[3.0, 4.0]])).detach().round(decimals=3)
    tensor([[0.8490, 1.1310]])
    """

    def __init__(
        self,
        branch: nn.Module,
        features: int,
        norm: Chosen = "layer",
        placement: Placement = "pre",
        *,
        index: int = 1,
        count: int = 1,
        channel_dim: int = 1,
        shortcut: nn.Module | None = None,
        outputs: int | None = None,
    ) -> None:
        super().__init__()
        where = "Residual"
        if not isinstance(branch, nn.Module):
            raise ConfigError(f"{where}.branch: must be a torch.nn.Module, got {type(branch).__name__}")
        if not isinstance(shortcut, nn.Module | None):
            raise ConfigError(f"{where}.shortcut: must be a torch.nn.Module, got {type(shortcut).__name__}")
        placement = one_of(f"{where}.placement", placement, get_args(Placement))
        self.count = whole(f"{where}.count", count, 1)
        self.index = whole(f"{where}.index", index, 1, count)
        self.placement: Placement = mix_placement(index, count) if placement == "mix" else placement
        made = {"channel_dim": channel_dim, "depth": self.index}
        self.stream, self.path, self.outside = nn.Sequential(), nn.Sequential(), nn.Sequential()
        for parts, name, where_it_stands in (
            (self.stream, "norm", ("hybrid",)),
            (self.path, "before", ("pre", "peri", "sandwich")),
            (self.path, "branch", get_args(Placement)),
            (self.path, "behind", ("mid", "peri", "sandwich")),
            (self.outside, "norm", ("post", "deep")),
        ):
            if self.placement in where_it_stands:
                channels = features if outputs is None or parts is self.stream or name == "before" else outputs
                parts.add_module(name, branch if name == "branch" else chosen_norm(f"{where}.norm", norm, channels, made, self.index))
        self.shortcut = shortcut

    def forward(self, x: Tensor) -> Tensor:
        """The stream with what the branch adds."""
        stream: Tensor = self.stream(x)
        added = self.path(stream)
        if self.shortcut is not None:
            stream = self.shortcut(stream)
        if added.shape != stream.shape:
            kept = "keep the shape" if self.shortcut is None else "have the shape"
            raise ConfigError(f"Residual: the branch must {kept} {tuple(stream.shape)}, got {tuple(added.shape)}")
        if self.placement == "deep":
            stream = deep_gains(self.count)[0] * stream
        y: Tensor = self.outside(stream + added)
        return y

    def hw_ops(self) -> Cost:
        """Those of its norms, the sum, and the product with α. The branch is not counted."""
        parts = [norm.hw_ops() for norm in self.norms()]
        each = [Operations(1, int(self.placement == "deep")), *(part.per_element for part in parts)]
        return Cost(_sum(each), _sum([Operations(), *(part.per_vector for part in parts)]))

    def bounds(self) -> tuple[float, float]:
        """Those of the norm outside; otherwise all numbers, for the stream has no bounds."""
        last = [norm for norm in self.outside if isinstance(norm, Norm)]
        return last[0].bounds() if last else (-math.inf, math.inf)

    def norms(self) -> list[Norm]:
        """Those that it has."""
        return [norm for parts in (self.stream, self.path, self.outside) for norm in parts if isinstance(norm, Norm)]

    def extra_repr(self) -> str:
        """For ``print``."""
        return f"placement={self.placement!r}, index={self.index}, count={self.count}"


def residual_stack(
    branches: Sequence[nn.Module],
    features: int,
    norm: Chosen = "layer",
    placement: Placement = "pre",
    *,
    channel_dim: int = 1,
    initialize: bool = True,
) -> nn.Sequential:
    r"""Residual branches one after the other, with the norms at the ends of the stream that the placement asks for.

    A stream without a norm of its own (all but ``post``, ``deep``) gets one at its end, and with ``peri`` one at its start. With
    ``freeze``, the norm at the start freezes with those of the first layer, and the one at the end ``gap`` batches after those of the last.

    Args:
        branches: Modules that keep the shape; their number is the ``count`` of :class:`Residual`.
        features, norm, placement, channel_dim: Of :class:`Residual`.
        initialize: With ``deep``, whether the weights of the branches are multiplied by (4M)^−¼, M their number:
            the gain, if they were drawn by Xavier's
            rule. (The authors leave queries and keys out, which do not exist here.)

    Returns:
        Named ``start``, ``layer1``, ``layer2``, …, ``end``.

    Raises:
        ConfigError: There are no branches, an argument is not that of :class:`Residual`, or weights are to be multiplied whose
            parametrization keeps no factor.
    """
    given: object = branches
    branches = list(branches) if isinstance(given, Sequence | nn.Module) and isinstance(given, Iterable) else []
    if not branches:
        raise ConfigError("residual_stack.branches: must be a sequence of at least one module")
    count = len(branches)
    flag("residual_stack.initialize", initialize)
    layers: dict[str, nn.Module] = {}
    for at, branch in enumerate(branches, 1):
        layers[f"layer{at}"] = Residual(branch, features, norm, placement, index=at, count=count, channel_dim=channel_dim)
    ends = {"channel_dim": channel_dim, "depth": 1}
    stack = nn.Sequential()
    if placement == "peri":
        stack.add_module("start", chosen_norm("residual_stack.norm", norm, features, ends))
    for name, layer in layers.items():
        stack.add_module(name, layer)
    if has_end(placement):
        stack.add_module("end", chosen_norm("residual_stack.norm", norm, features, ends, count + 1))
    if placement == "deep" and initialize:
        _shrink(nn.ModuleList(branches), deep_gains(count)[1])
    return stack


@torch.no_grad()
def _shrink(branches: nn.ModuleList, gain: float) -> None:
    """Multiply all weights by the gain, each once, however often its branch is called."""
    computed = [(path, one) for path, one in branches.named_modules() if parametrize.is_parametrized(one, "weight")]
    scale_weights("residual_stack with 'deep'", computed, gain)
    done = {value for _, one in computed for value in one.get_submodule("parametrizations.weight").parameters()}
    for value in branches.parameters():
        if value.dim() > 1 and value not in done:
            value.mul_(gain)


def normformer(branch: nn.Sequential, features: int, norm: Chosen = "layer", *, channel_dim: int = -1) -> nn.Sequential:
    r"""A feed-forward branch with the norm that NormFormer adds: before its last layer with weights.

    .. math:: f(x) = W_2\,N(\sigma(W_1 x)); \qquad \text{the other norms are those of } \mathtt{pre} \text{, and of } \mathtt{peri}
        \text{ for attention}

    Args:
        branch: Ends with a layer with weights, and has another one; its modules are taken over.
        features: Channels of what goes into that last layer.
        norm, channel_dim: Of :class:`Residual`.

    Returns:
        A new sequence, with ``norm`` before the last module.

    Raises:
        ConfigError: The branch is not as above.

    Source:
        S. Shleifer, J. Weston, M. Ott, "NormFormer: improved transformer pretraining with extra normalization" (2021), and the authors'
        code, where the norm follows the activation.
    """
    given: object = branch
    modules = dict(given.named_children()) if isinstance(given, nn.Sequential) else {}
    if len(modules) < 2 or not hasattr(list(modules.values())[-1], "weight") or "norm" in modules:
        raise ConfigError("normformer.branch: must be an nn.Sequential that ends with a layer with weights and has none named 'norm'")
    *first, last = modules
    made = nn.Sequential()
    for name in first:
        made.add_module(name, modules[name])
    made.add_module("norm", chosen_norm("normformer.norm", norm, features, {"channel_dim": channel_dim}))
    made.add_module(last, modules[last])
    return made


def has_end(placement: Placement) -> bool:
    """Whether a stream with these placements needs a norm at its end: where none stands on it."""
    return placement not in ("post", "deep", "none")


def _sum(parts: Sequence[Operations]) -> Operations:
    return Operations(*(sum(column) for column in zip(*parts, strict=True)))
