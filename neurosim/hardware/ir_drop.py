"""Voltage lost along one line, as aihwkit has it: cheap, and different for every input."""

from __future__ import annotations

from torch import Tensor
from torch.nn.functional import linear

from neurosim.errors import ConfigError


def ir_drop(y: Tensor, x: Tensor, w: Tensor, *, strength: float = 1.0, r_wire_ohm: float = 0.35, g_max_siemens: float = 5e-6) -> Tensor:
    r"""Outputs of a product less what their lines lose.

    .. math:: y_i \leftarrow y_i - s\,c_i \sum_j w_{ij} x_j \big(1 - (1 - j/n)^2\big), \quad
        c_i = a_i (0.5 - 0.2\,a_i + 0.05\,a_i^2), \quad a_i = n\,R\,G \sum_j |w_{ij}|\,|x_j|

    Every output has one line along its n inputs, grounded beside input 0. Unlike :func:`neurosim.hardware.parasitics.fast_conductance` it
    is no matrix: the loss grows with the square of the current.

    Args:
        y: Outputs without loss, or with other errors.
        x: Inputs of the product, in units of their largest value.
        w: Weights, in units of the largest one.
        strength: s, ≥ 0.
        r_wire_ohm: R, of the line from one input to the next, ohm.
        g_max_siemens: G, conductance of the largest weight, siemens.

    Shapes:
        y ``(…, out)``, x ``(…, in)``, w ``(out, in)``; result as y.

    Raises:
        ConfigError: The shapes do not fit.

    Source:
        aihwkit 1.1, ``applyIrDrop`` in ``src/rpucuda/rpu_forward_backward_pass.cpp``, and its default wire (``ir_drop_g_ratio``); in the
        supplement of M. J. Rasch et al., Nat. Commun. 14 (2023) 5282.
    """
    if w.dim() != 2 or x.shape[-1:] != w.shape[1:] or y.shape[-1:] != w.shape[:1]:
        raise ConfigError(f"ir_drop: w must be (out, in) of y and x, got w {tuple(w.shape)}, y {tuple(y.shape)}, x {tuple(x.shape)}")
    n = w.shape[1]
    place = x.new_tensor(range(n)) / n
    a = n * r_wire_ohm * g_max_siemens * linear(x.abs(), w.abs())
    return y - strength * a * (0.5 + a * (0.05 * a - 0.2)) * linear(x * (1 - (1 - place) ** 2), w)
