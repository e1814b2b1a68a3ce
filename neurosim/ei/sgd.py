"""Gradient descent for weights that must stay 0 or more."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.sgd import sgd

from neurosim.errors import ConfigError

Groups = Iterable[nn.Parameter] | Iterable[dict[str, Any]]


class EISGD(torch.optim.Optimizer):
    r"""Stochastic gradient descent that projects onto weights of 0 or more.

    .. math::
        d_t = \nabla L(w_t) + \lambda w_t, \qquad b_t = \mu\,b_{t-1} + (1 - \delta)\,d_t, \qquad
        w_{t+1} = \max(w_t - \eta\,b_t,\ 0)

    with :math:`b_0 := d_1`; Nesterov's variant steps along :math:`d_t + \mu\,b_t`. It differs from ``torch.optim.SGD`` in two ways: in the
    first step of a parameter torch takes :math:`b_1 = d_1` and the authors :math:`b_1 = (\mu + 1 - \delta)\,d_1`; and torch does not
    project. The L1 decay that the authors' optimiser offers beside this one is left out.

    Args:
        params: ``neurosim.ei.groups(model)``, or groups of your own; those with ``non_negative=True`` are projected, parameters that come
            without a group are not.
        lr: Learning rate :math:`\eta`, ≥ 0.
        momentum: :math:`\mu` ≥ 0.
        dampening: :math:`\delta`.
        weight_decay: :math:`\lambda` ≥ 0.
        nesterov: Look ahead along the momentum, which must then be > 0, without dampening.

    Raises:
        ConfigError: A value is out of its domain.

    Source:
        P. Liu, J. Ding, Z. Yu, ICLR 2026 (arXiv 2509.23253), the authors' code (commit 28eec3b), ``EI_SGD``.

    >>> weight = nn.Parameter(torch.tensor([1.0]))
    >>> optimizer = EISGD([{"params": [weight], "non_negative": True}], lr=0.1, momentum=0.9)
    >>> weight.grad = torch.tensor([2.0])
    >>> optimizer.step()  # 1 - 0.1 · 1.9 · 2
    >>> round(weight.item(), 6)
    0.62
    """

    def __init__(
        self,
        params: Groups,
        lr: float = 1e-3,
        *,
        momentum: float = 0.0,
        dampening: float = 0.0,
        weight_decay: float = 0.0,
        nesterov: bool = False,
        non_negative: bool = False,
    ) -> None:
        for name, value in (("lr", lr), ("momentum", momentum), ("weight_decay", weight_decay)):
            if not value >= 0:
                raise ConfigError(f"EISGD.{name}: must be ≥ 0, got {value!r}")
        if nesterov and (momentum <= 0 or dampening != 0):
            raise ConfigError(f"EISGD.nesterov: needs momentum > 0 and dampening 0, got {momentum:g} and {dampening:g}")
        settings = {"momentum": momentum, "dampening": dampening, "weight_decay": weight_decay, "nesterov": nesterov}
        super().__init__(params, {"lr": lr, **settings, "non_negative": non_negative})

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """One step; ``closure`` computes the loss and its gradients first, and is what the result comes from."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            trained = [value for value in group["params"] if value.grad is not None]
            gradients = [value.grad for value in trained]
            buffers = [self._buffer(value, grad, group) for value, grad in zip(trained, gradients, strict=True)]
            sgd(
                trained,
                gradients,
                buffers,
                lr=group["lr"],
                momentum=group["momentum"],
                dampening=group["dampening"],
                weight_decay=group["weight_decay"],
                nesterov=group["nesterov"],
                maximize=False,
            )
            if group["non_negative"]:
                for value in trained:
                    value.clamp_(min=0)
        return loss

    def _buffer(self, value: nn.Parameter, grad: Tensor, group: dict[str, Any]) -> Tensor | None:
        """The momentum of a parameter, if there is any; at first its gradient of now."""
        if not group["momentum"]:
            return None
        state = self.state[value]
        if "momentum_buffer" not in state:
            state["momentum_buffer"] = torch.add(grad, value, alpha=group["weight_decay"])
        buffer: Tensor = state["momentum_buffer"]
        return buffer
