"""Batch norms in deep chains without gradients that explode: orthogonal weights, and activations that grow linear with depth."""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from neurosim.checks import number
from neurosim.norms.base import Norm, check_model
from neurosim.norms.placing import put_weights
from neurosim.norms.registry import register
from neurosim.random import Stream, stream


@register(
    "shaped_batch",
    "B39",
    kind="initialiser",
    formula="W orthogonal, γ of the ℓ-th batch norm = ℓ^−k: f(ℓ^−k (x − µ) / σ)",
    fold="F0",
    stats="running",
    usage="init: shaped_batch of a model in a config, or ns.norms.shape_batch_norms(model), of a model that has batch norms",
)
def shape_batch_norms(model: nn.Module, exponent: Annotated[float, Field(ge=0)] = 0.5, seed: int = 0) -> nn.Module:
    r"""Give a chain of layers, batch norms and activations weights with which gradients stay bounded at any depth; in place.

    .. math:: W_\ell^\mathsf{T} W_\ell = I, \qquad h_\ell = \phi\big(\ell^{-k}\,\mathrm{BN}(W_\ell h_{\ell - 1})\big)

    Batch norm alone makes gradients grow exponentially with depth, unless activations are linear and weights orthogonal. A smooth
    activation with slope at 0 is the more linear the smaller its input, and the next batch norm takes the scale out again. The factor is
    the γ of every batch norm, so nothing is left of it once they are folded. It does not help what is not smooth at 0, such as ReLU.

    Args:
        model: Its linear layers and convolutions get orthogonal weights, and its batch norms, in their order, a γ of ℓ^−k; biases stay.
        exponent: k, ≥ 0.
        seed: Of the weights.

    Returns:
        The same model.

    Raises:
        ConfigError: What is given is no model, the exponent is below 0, or a parametrization cannot give an orthogonal weight; the model
            is then unchanged.

    Source:
        A. Meterez, A. Joudaki, F. Orabona, A. Immer, G. Rätsch, H. Daneshmand, "Towards training without depth limits: batch normalization
        without gradient explosion", ICLR 2024, and the authors' code, where the factors are powers of the depth; there no mean is taken
        off.

    >>> model = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4), nn.Tanh(), nn.Linear(4, 4), nn.BatchNorm1d(4), nn.Tanh())
    >>> shape_batch_norms(model, exponent=1.0)[4].weight.detach()
    tensor([0.5000, 0.5000, 0.5000, 0.5000])
    """
    check_model("shape_batch_norms", model)
    power = number("shape_batch_norms.exponent", exponent, ge=0)
    drawn = [
        (path, module, _orthogonal(stream(seed, "shape_batch_norms", path), module.weight))
        for path, module in model.named_modules()
        if isinstance(module, nn.Linear | nn.Conv1d | nn.Conv2d | nn.Conv3d)
    ]
    put_weights("shape_batch_norms", drawn)
    shape_gains(model, power)
    return model


@torch.no_grad()
def shape_gains(model: nn.Module, exponent: float) -> None:
    """Set the γ of every batch norm of a model, in their order, to ℓ^−exponent, in place."""
    depth = 0
    for module in model.modules():
        if isinstance(module, _BatchNorm) or (isinstance(module, Norm) and module.stats == "running"):
            depth += 1
            if isinstance(module.weight, Tensor):
                module.weight.fill_(depth**-exponent)


def _orthogonal(source: Stream, like: Tensor) -> Tensor:
    """A matrix with orthogonal rows, or columns where it has fewer of them, drawn without preference."""
    shape = like.flatten(1).shape
    drawn = source.normal((max(shape), min(shape)), like=like.new_empty(0, dtype=torch.float64))
    q, r = torch.linalg.qr(drawn)
    q = q * torch.where(r.diagonal() < 0, -1.0, 1.0)
    found: Tensor = (q if shape[0] >= shape[1] else q.T).reshape(like.shape).to(like)
    return found
