"""Optimisers that do not make weights longer where only their direction counts: AdamP and SGDP."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cosine_similarity

from neurosim.checks import number
from neurosim.errors import ConfigError

Groups = Iterable[nn.Parameter] | Iterable[dict[str, Any]]


def remove_radial(update: Tensor, weight: Tensor, gradient: Tensor, delta: float = 0.1, eps: float = 1e-8) -> tuple[Tensor, bool]:
    r"""An update without its part along the weights, if the gradient says that their length does not count.

    .. math:: \Pi_w(u) = u - \frac{w^\top u}{\lVert w \rVert^2}\,w \quad \text{if } \max_k |\cos(w_k, g_k)| < \frac{\delta}{\sqrt{\dim w_k}}

    A loss that does not change with the length of w has a gradient across w; momentum, or the division of Adam, gives its steps a part
    along w all the same, which makes w longer and all later steps smaller. The weights of every output are looked at first (behind them
    may stand a batch norm), then all weights of the layer as one (a layer norm).

    Args:
        update: u, that is to be taken off the weights times the learning rate.
        weight: w, with the outputs on axis 0.
        gradient: g, of this step.
        delta: δ; larger ones take more for scale-invariant.
        eps: Added to lengths, against division by 0.

    Returns:
        The update, and whether it was changed.

    Source:
        B. Heo et al., "AdamP: slowing down the slowdown for momentum optimizers on scale-invariant weights", ICLR 2021, equation 11 and
        algorithms 1 and 2; in the order of the authors' code.

    >>> across = torch.tensor([[0.0, 1.0]])
    >>> remove_radial(torch.tensor([[3.0, 1.0]]), torch.tensor([[2.0, 0.0]]), across)
    (tensor([[0., 1.]]), True)
    """
    for rows in (weight.shape[0], 1):
        w, g, u = (one.reshape(rows, -1) for one in (weight, gradient, update))
        if float(cosine_similarity(g, w, dim=1, eps=eps).abs().max()) < delta / math.sqrt(w.shape[1]):
            direction = w / (w.norm(dim=1, keepdim=True) + eps)
            return (u - direction * (direction * u).sum(1, keepdim=True)).reshape(update.shape), True
    return update, False


class _Radial(torch.optim.Optimizer, ABC):
    """What both share: decoupled weight decay, less of it where the length does not count, and the projection."""

    def __init__(self, params: Groups, **settings: Any) -> None:
        name = type(self).__name__
        for key in ("lr", "weight_decay", "delta", "wd_ratio"):
            number(f"{name}.{key}", settings[key], ge=0)
        number(f"{name}.eps", settings["eps"], gt=0)
        super().__init__(params, settings)

    @abstractmethod
    def update(self, gradient: Tensor, state: dict[str, Any], group: dict[str, Any]) -> tuple[Tensor, float]:
        """The step before it is projected, in units of the learning rate; and what multiplies the weight decay."""

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """One step; ``closure`` computes the loss and its gradients first, and is what the result comes from."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for value in group["params"]:
                if value.grad is not None:
                    weight, gradient = (torch.view_as_real(one) if one.is_complex() else one for one in (value, value.grad))
                    self._move(weight, gradient, self.state[value], group)
        return loss

    def _move(self, weight: Tensor, gradient: Tensor, state: dict[str, Any], group: dict[str, Any]) -> None:
        update, decay = self.update(gradient, state, group)
        decay *= group["weight_decay"]
        if weight.dim() > 1 and weight.numel():
            update, invariant = remove_radial(update, weight, gradient, group["delta"], group["eps"])
            decay *= group["wd_ratio"] if invariant else 1.0
        weight.mul_(1 - group["lr"] * decay).sub_(update, alpha=group["lr"])


class AdamP(_Radial):
    r"""Adam whose steps do not make weights longer where only their direction counts.

    .. math::
        m \leftarrow \beta_1 m + (1 - \beta_1) g, \quad v \leftarrow \beta_2 v + (1 - \beta_2) g^2, \quad
        u = \frac{m / (1 - \beta_1^t)}{\sqrt{v / (1 - \beta_2^t)} + \varepsilon}, \quad
        w \leftarrow (1 - \eta \lambda \rho) w - \eta\,\Pi_w(u)

    with :math:`\Pi_w` of :func:`remove_radial`, and ρ = ``wd_ratio`` where it changed the update, else 1. Parameters of one axis take
    steps of Adam with decoupled weight decay.

    Args:
        params: Parameters, or groups of them.
        lr: Learning rate η ≥ 0.
        betas: β₁ and β₂, in [0, 1).
        eps: ε > 0.
        weight_decay: λ ≥ 0, decoupled.
        delta: δ of the test, ≥ 0; 0 never projects.
        wd_ratio: ρ ≥ 0.
        nesterov: Look ahead along m.

    Raises:
        ConfigError: A value is out of its domain.

    Source:
        B. Heo et al., "AdamP: slowing down the slowdown for momentum optimizers on scale-invariant weights", ICLR 2021, algorithm 2.

    >>> weight = nn.Parameter(torch.tensor([[1.0, 0.0]]))
    >>> weight.grad = torch.tensor([[0.0, 2.0]])
    >>> AdamP([weight], lr=0.5).step()
    >>> weight.data
    tensor([[ 1.0000, -0.5000]])
    """

    def __init__(
        self,
        params: Groups,
        lr: float = 1e-3,
        *,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        delta: float = 0.1,
        wd_ratio: float = 0.1,
        nesterov: bool = False,
    ) -> None:
        given: Any = betas
        if not isinstance(given, Sequence) or len(given) != 2:
            raise ConfigError(f"AdamP.betas: must be two numbers, got {betas!r:.60}")
        for beta in betas:
            number("AdamP.betas", beta, ge=0, lt=1)
        settings = {"weight_decay": weight_decay, "delta": delta, "wd_ratio": wd_ratio, "nesterov": nesterov}
        super().__init__(params, lr=lr, betas=tuple(betas), eps=eps, **settings)

    def update(self, gradient: Tensor, state: dict[str, Any], group: dict[str, Any]) -> tuple[Tensor, float]:
        """Adam's step."""
        if "exp_avg" not in state:
            state.update(step=0, exp_avg=torch.zeros_like(gradient), exp_avg_sq=torch.zeros_like(gradient))
        state["step"] += 1
        first, second = group["betas"]
        m, v = state["exp_avg"], state["exp_avg_sq"]
        m.mul_(first).add_(gradient, alpha=1 - first)
        v.mul_(second).addcmul_(gradient, gradient, value=1 - second)
        ahead = first * m + (1 - first) * gradient if group["nesterov"] else m
        spread = (v.sqrt() / math.sqrt(1 - second ** state["step"])).add_(group["eps"])
        return ahead / spread / (1 - first ** state["step"]), 1.0


class SGDP(_Radial):
    r"""Gradient descent with momentum whose steps do not make weights longer where only their direction counts.

    .. math::
        b \leftarrow \mu b + (1 - d) g, \qquad w \leftarrow \Big(1 - \frac{\eta \lambda \rho}{1 - \mu}\Big) w - \eta\,\Pi_w(b)

    with b = 0 at first, :math:`\Pi_w` of :func:`remove_radial`, and ρ = ``wd_ratio`` where it changed the update, else 1. Nesterov's
    variant steps along g + μ b.

    Args:
        params: Parameters, or groups of them.
        lr: Learning rate η ≥ 0.
        momentum: μ in [0, 1).
        dampening: d.
        weight_decay: λ ≥ 0, decoupled.
        nesterov: Look ahead along the momentum, which must then be > 0.
        eps: Added to lengths, > 0.
        delta: δ of the test, ≥ 0; 0 never projects.
        wd_ratio: ρ ≥ 0.

    Raises:
        ConfigError: A value is out of its domain.

    Source:
        B. Heo et al., "AdamP: slowing down the slowdown for momentum optimizers on scale-invariant weights", ICLR 2021, algorithm 1.

    >>> weight = nn.Parameter(torch.tensor([[1.0, 0.0]]))
    >>> weight.grad = torch.tensor([[0.0, 2.0]])
    >>> SGDP([weight], lr=0.5, momentum=0.9).step()
    >>> weight.data
    tensor([[ 1., -1.]])
    """

    def __init__(
        self,
        params: Groups,
        lr: float = 0.01,
        *,
        momentum: float = 0.0,
        dampening: float = 0.0,
        weight_decay: float = 0.0,
        nesterov: bool = False,
        eps: float = 1e-8,
        delta: float = 0.1,
        wd_ratio: float = 0.1,
    ) -> None:
        number("SGDP.momentum", momentum, ge=0, lt=1)
        number("SGDP.dampening", dampening)
        if nesterov and momentum == 0:
            raise ConfigError("SGDP.nesterov: needs momentum > 0, got 0")
        settings = {"weight_decay": weight_decay, "delta": delta, "wd_ratio": wd_ratio, "nesterov": nesterov}
        super().__init__(params, lr=lr, momentum=momentum, dampening=dampening, eps=eps, **settings)

    def update(self, gradient: Tensor, state: dict[str, Any], group: dict[str, Any]) -> tuple[Tensor, float]:
        """The step of gradient descent with momentum."""
        momentum = group["momentum"]
        if "momentum" not in state:
            state["momentum"] = torch.zeros_like(gradient)
        buffer: Tensor = state["momentum"]
        buffer.mul_(momentum).add_(gradient, alpha=1 - group["dampening"])
        return (gradient + momentum * buffer if group["nesterov"] else buffer), 1 / (1 - momentum)
