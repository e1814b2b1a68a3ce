"""Residual branches of networks without norms: scaled, so that the stream does not grow with depth."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Annotated, Any

from pydantic import Field
from torch import Tensor, nn

from neurosim.checks import flag, number, whole
from neurosim.errors import ConfigError
from neurosim.norms.base import Cost, Operations
from neurosim.norms.registry import register
from neurosim.norms.scalar import Scalar


class Branch(nn.Module):
    """Base: a shortcut, and a branch that is added to it.

    Args:
        branch: f, a module.
        shortcut: In the place of x, a module; None: x itself.
        before: What comes before the branch.
        after: What comes after it.
    """

    def __init__(
        self, branch: nn.Module, shortcut: nn.Module | None, before: Sequence[nn.Module] = (), after: Sequence[nn.Module] = ()
    ) -> None:
        super().__init__()
        for name, one in (("branch", branch), ("shortcut", nn.Identity() if shortcut is None else shortcut)):
            if not isinstance(one, nn.Module):
                raise ConfigError(f"{type(self).__name__}.{name}: must be a torch.nn.Module, got {type(one).__name__}")
        self.branch, self.shortcut = nn.Sequential(*before, branch, *after), shortcut

    def forward(self, x: Tensor) -> Tensor:
        """The stream and its branch."""
        stream: Tensor = x if self.shortcut is None else self.shortcut(x)
        y: Any = self.branch(x)
        if isinstance(y, Tensor) and y.shape != stream.shape:  # and not what stands for one while this is read
            raise ConfigError(f"{type(self).__name__}: the branch must have the shape {tuple(stream.shape)}, got {tuple(y.shape)}")
        both: Tensor = stream + y
        return both

    def hw_ops(self) -> Cost:
        """The factors and offsets, and the sum. What the branch and the shortcut compute is not counted."""
        found = [part for part in self.modules() if isinstance(part, Scalar)]
        adds, multiplies = (sum(getattr(part, name) is not None for part in found) for name in ("shift", "scale"))
        return Cost(Operations(1 + adds, multiplies))

    def bounds(self) -> tuple[float, float]:
        """All numbers."""
        return -math.inf, math.inf


@register(
    "skip_init",
    "B35",
    kind="wrapper",
    usage="scheme: skipinit of the models residual_mlp and residual_cnn, or ns.norms.ScaledBranch(branch) around every branch",
    formula="y = x + a f(x), a = 0 and learned, or 1/L or 1/√L",
    fold="F0",
    example=lambda: ScaledBranch(nn.Linear(16, 16)),
)
class ScaledBranch(Branch):
    r"""SkipInit and its kin: a branch times one number, 0 at the start and learned, or a constant such as 1/L or 1/√L of L branches.

    .. math:: y = x + a\,f(x)

    Args:
        branch: f, a module that keeps the shape.
        scale: a, at the start.
        learn: Whether it is learned.
        shortcut: In the place of x, a module; None: x itself.

    Shapes:
        x ``(batch, *)``; result the same, or as the shortcut has it.

    Raises:
        ConfigError: An argument is not as above, or the branch has another shape than the shortcut.

    Source:
        S. De, S. L. Smith, "Batch normalization biases residual blocks towards the identity function in deep networks", NeurIPS 2020.

    >>> import torch
    >>> ScaledBranch(nn.Identity(), scale=0.5, learn=False)(torch.ones(1, 2))
    tensor([[1.5000, 1.5000]])
    """

    def __init__(self, branch: nn.Module, scale: float = 0.0, *, learn: bool = True, shortcut: nn.Module | None = None) -> None:
        super().__init__(branch, shortcut, after=[Scalar(number("ScaledBranch.scale", scale), learn=flag("ScaledBranch.learn", learn))])


@register(
    "norm_free",
    "B33",
    kind="wrapper",
    usage="scheme: sws+nf of the models residual_mlp and residual_cnn, or ns.norms.NormFreeBranch(branch, variance) around every branch",
    formula="y = x + α g f(x / β), β² the variance that x is expected to have, g = 0 at the start",
    fold="F0",
    example=lambda: NormFreeBranch(nn.Linear(16, 16)),
)
class NormFreeBranch(Branch):
    r"""The branch of an NF-ResNet: its input brought to variance 1 by a constant, its output scaled by another and by a learned gain.

    .. math:: y = s(x) + \alpha\,g\,f(x / \beta)

    where s is the identity, or the shortcut of a transition, which takes x / β as well. f keeps the variance, as layers with
    :class:`ScaledWeightStandardization` do; then :func:`expected_variances` gives β² of every block.

    Args:
        branch: f, a module.
        variance: β², what the variance of x is expected to be, > 0.
        alpha: α, > 0.
        gain: g at the start, learned; None: 1 and constant.
        shortcut: s, a module; None: the identity.

    Shapes:
        x ``(batch, *)``; result the same, or as the shortcut has it.

    Raises:
        ConfigError: An argument is not as above, or the branch has another shape than the shortcut.

    Source:
        A. Brock, S. De, S. L. Smith, "Characterizing signal propagation to close the performance gap in unnormalized ResNets", ICLR 2021,
        section 3, and the authors' code, which has the gain.

    >>> import torch
    >>> NormFreeBranch(nn.Identity(), variance=4.0, gain=None)(torch.ones(1, 2))
    tensor([[1.1000, 1.1000]])
    """

    def __init__(
        self,
        branch: nn.Module,
        variance: Annotated[float, Field(gt=0)] = 1.0,
        alpha: Annotated[float, Field(gt=0)] = 0.2,
        gain: float | None = 0.0,
        *,
        shortcut: nn.Module | None = None,
    ) -> None:
        inverse = 1 / math.sqrt(number("NormFreeBranch.variance", variance, gt=0))
        before = Scalar(inverse, learn=False)
        after = [] if gain is None else [Scalar(number("NormFreeBranch.gain", gain))]
        after.append(Scalar(number("NormFreeBranch.alpha", alpha, gt=0), learn=False))
        super().__init__(branch, shortcut, [before], after)
        if shortcut is not None:
            self.shortcut = nn.Sequential(Scalar(inverse, learn=False), shortcut)


def expected_variances(blocks: Sequence[int], alpha: float = 0.2) -> list[float]:
    r"""The variance that the stream has before every block of an NF-ResNet, and behind the last.

    .. math:: v_{\ell + 1} = v_\ell + \alpha^2, \quad \text{and } 1 + \alpha^2 \text{ behind a transition}

    Args:
        blocks: Blocks of every stage; the first of all stages but the first is a transition, whose shortcut gives variance 1.
        alpha: α, > 0.

    Returns:
        One number more than there are blocks.

    Raises:
        ConfigError: An argument is not as above.

    >>> [round(one, 2) for one in expected_variances([2, 2], alpha=0.5)]
    [1.0, 1.25, 1.5, 1.25, 1.5]
    """
    step = number("expected_variances.alpha", alpha, gt=0) ** 2
    given: object = blocks
    if not isinstance(given, Sequence) or isinstance(given, str):
        raise ConfigError(f"expected_variances.blocks: must be a sequence of numbers of blocks, got {given!r:.60}")
    found = [1.0]
    for stage, count in enumerate(blocks):
        for block in range(whole(f"expected_variances.blocks[{stage}]", count, 1)):
            found.append((1.0 if stage and not block else found[-1]) + step)
    return found
