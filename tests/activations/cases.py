"""The registry as test parameters: what the catalogue lists, and settings under which facts differ."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from neurosim.activations import ACTIVATIONS, Curve, Facts, facts

#: what the catalogue of activations lists, by its numbers, and the entries with the settings that are it; C36 is for attention
CATALOGUE: dict[str, list[tuple[str, dict[str, Any]]]] = {
    "C1 ReLU, ReLU-N": [("relu", {}), ("relu_n", {"n": 1.0}), ("relu_n", {"n": 6.0})],
    "C2 leaky ReLU, PReLU": [("leaky_relu", {"negative_slope": 0.01}), ("prelu", {"init": 0.25})],
    "C3 HeLU": [("helu", {"alpha": 0.05})],
    "C4 SmeLU, ReScU": [("smelu", {"b": 0.5}), ("rescu", {"left": 0.0, "right": 1.0, "start": 1.0, "stop": 2.0})],
    "C5 SAU": [("sau", {"alpha": 0.15, "s": 1.0})],
    "C6 ELU, SELU": [("elu", {"alpha": 1.0}), ("selu", {})],
    "C7 bounded": [("sigmoid", {}), ("tanh", {}), ("hardtanh", {}), ("softsign", {}), ("hardsigmoid", {})],
    "C8 softplus": [("softplus", {"scale": 2.0, "sharpness": 3.0, "shift": 0.5})],
    "C9 GELU": [("gelu", {}), ("gelu", {"approximate": "tanh"})],
    "C10 Swish, HardSwish": [("silu", {}), ("silu", {"beta": 1.5, "learn": ["beta"]}), ("hardswish", {})],
    "C11 interpolation": [("interpolated", {"i": 0.3, "s": 1.5, "alpha": 0.1, "target": "silu"})],
    "C12 Mish": [("mish", {})],
    "C13 APTx": [("aptx", {"alpha": 1.0, "beta": 1.0, "gamma": 0.5})],
    "C14 GoLU": [("golu", {})],
    "C15 APA, AGLU": [("apa", {"lam": 1.0, "kappa": 1.0}), ("aglu", {"lam": 0.5, "kappa": 1.0})],
    "C16 expanded gates": [("expanded_gate", {"gate": gate, "alpha": 0.25}) for gate in ("arctan", "gelu", "silu")],
    "C17 CRReLU": [("crrelu", {"epsilon": 0.01})],
    "C18 in place of VeLU": [("variance_scaled", {"base": "silu", "low": 0.5, "high": 2.0})],
    "C19 Snake": [("snake", {"a": 1.0})],
    "C20 GCU, sine": [("gcu", {}), ("sine", {"omega": 30.0})],
    "C21 ReLU squared": [("relu_squared", {})],
    "C22 JumpReLU": [("jumprelu", {"theta": 1e-3, "epsilon": 1e-3})],
    "C23 sparse": [
        ("shifted_relu", {"tau": 1.0}),
        ("soft_threshold", {"tau": 1.0}),
        ("crelu", {"tau": 1.0, "m": 1.0}),
        ("cst", {"tau": 1.0, "m": 1.0}),
    ],
    "C24 FATReLU": [("jumprelu", {"theta": 0.1, "learn": False})],
    "C25 stochastic activation": [("stochastic", {"p": 0.6})],
    "C26 stochastic ReLU": [("faulty_relu", {"width": 0.1, "fault": "neg_pass"})],
    "C27 rational": [("rational", {})],
    "C28 one rational for all": [("rational", {"shared": True})],
    "C29 polynomial composition": [("polyrelu", {}), ("polynorm", {"degree": 3})],
    "C30 trainable matrix": [("step_slopes", {"slopes": [0.0, 0.1, 0.9, 1.0]}), ("tridiagonal_slopes", {"intervals": 4})],
    "C31 SmartMixed": [("smart_mixed", {"units": 4})],
    "C32 SAFS": [("scaled", {"base": "tanh", "alpha": 1.5, "beta": 0.5})],
    "C33 Gaussian, RBF": [("gaussian", {"s": 0.5}), ("rbf", {"inputs": 3, "units": 5})],
    "C34 GLU, dReLU": [("glu", {"gate": "silu"}), ("glu", {"gate": "relu", "both": True})],
    "C35 Lipschitz": [("groupsort", {"group": 2}), ("groupsort", {"group": 4}), ("lipswish", {})],
    "C36 attention": [
        ("relu_scores", {}),
        ("reluformer_scores", {}),
        ("sigmoid_scores", {}),
        ("rela", {"units": 4}),
        ("gaussian_attention", {}),
    ],
    "C37 SDM": [("sdm", {})],
    "C38 ReLU head": [("relu", {})],
    "C39 quadratic": [("quadratic", {}), ("quadratic", {"a": 1.0, "b": 0.0, "c": 0.0})],
    "C40 spiking": [("heaviside", {"surrogate": "triangle"}), ("qcfs", {"levels": 4})],
}

#: beside the catalogue: blocks of sparsity and of training on chips
BLOCKS: list[tuple[str, dict[str, Any]]] = [
    ("top_k", {"share": 0.1}),
    ("statistical_top_k", {"share": 0.1}),
    ("approx_backward", {"base": "gelu", "backward": "gelu2"}),
]

CURVES = [name for name in ACTIVATIONS if isinstance(ACTIVATIONS[name], Curve)]
OTHERS = [name for name in ACTIVATIONS if name not in CURVES]

#: settings under which facts differ from those of the defaults, or are easier to see
_VARIANTS: dict[str, list[dict[str, Any]]] = {
    "leaky_relu": [{"negative_slope": -0.5}],
    "prelu": [{"init": -0.5}],
    "relu_n": [{"n": 1.0}],
    "elu": [{"alpha": 0.5}, {"alpha": 0.0}, {"alpha": -0.5}],
    "rescu": [{"left": -0.5}, {"left": 0.0, "start": 1.0}, {"right": -1.0}, {"left": 0.7, "right": 0.7}, {"left": -2.0, "right": -2.0}],
    "sau": [{"alpha": -0.2, "s": 0.5}, {"alpha": 0.0, "s": 1.0}, {"alpha": 1.0, "s": 0.5}],
    "hardtanh": [{"min_val": 0.5, "max_val": 2.0}],
    "gelu": [{"approximate": "tanh"}],
    "silu": [{"beta": 2.0}, {"beta": -1.0}, {"beta": 0.0}],
    "interpolated": [{"i": 0.0}, {"i": 1.0, "s": 2.0}, {"alpha": 0.2}, {"target": "silu", "i": 0.7}],
    "aptx": [{"alpha": 1.0, "beta": 0.5}, {"alpha": 2.0}, {"alpha": 0.5}],
    "golu": [{"alpha": 2.0, "beta": 0.5, "gamma": 2.0}],
    "apa": [{"lam": 1e-4, "kappa": 1.0}],
    "aglu": [{"lam": 1e-4, "kappa": 1.0}],
    "expanded_gate": [{"alpha": alpha, "gate": gate} for gate in ("arctan", "gelu", "silu") for alpha in (0.25, -0.1, -0.5, -1.0, -1.5)],
    "crrelu": [{"epsilon": 0.3}, {"epsilon": 0.0}],
    "jumprelu": [{"theta": 0.5}],
    "shifted_relu": [{"tau": 0.0}],
    "soft_threshold": [{"tau": 0.0}],
    "crelu": [{"tau": 0.5, "m": 3.0}],
    "quadratic": [{"a": -1.0}, {"a": 0.0, "c": 0.0}, {"a": 1.0, "b": 0.0, "c": 0.0}],
    "rational": [
        {"numerator": [1.0, 1.0], "denominator": [1.0]},
        {"numerator": [1.0, 0.0, 1.0], "denominator": [1.0, 0.0, 0.5]},
        {"numerator": [1.0, 1.0], "denominator": [1.0], "scale": 3.0},
        {"numerator": [0.0, 1.0, -0.7], "denominator": [0.7, 0.2]},
    ],
    "polyrelu": [
        {"coefficients": one} for one in ([0.5, 1.0, -1.0], [0.0, 1.0, 0.0, 0.0], [-1.5, 2.0, -0.5, 0.7], [0.0, 1.0], [0.0, 0.0, -1.0])
    ],
    "step_slopes": [{"slopes": [0.1, 0.2, 1.0, 2.0]}, {"slopes": [0.5, 1.0, 0.2]}, {"slopes": [0.7]}],
    "softplus": [{"scale": 2.0, "sharpness": 3.0, "shift": 0.5}],
    "heaviside": [{"threshold": 0.0, "surrogate": "triangle"}],
    "qcfs": [{"limit": 2.0, "levels": 4}],
    "approx_backward": [{"base": "silu", "backward": "silu2"}, {"base": "hardswish", "backward": "relu"}],
}


def named(name: str, settings: dict[str, Any]) -> str:
    """A readable id."""
    return "-".join([name, *(f"{key}={value}" for key, value in settings.items())])


VARIANTS = [(name, settings) for name in CURVES for settings in ({}, *_VARIANTS.get(name, []))]
VARIANT_IDS = [named(name, settings) for name, settings in VARIANTS]
#: without those whose gradient is on purpose another; tests of their own say which
TRUE_GRADIENTS = [(name, settings) for name, settings in VARIANTS if not facts(name).curve.own_gradient]
LEARNABLE = [name for name in CURVES if facts(name).curve.learned(learn=True)]


def function(name: str, settings: dict[str, Any]) -> Facts:
    """A curve with its parameters."""
    return facts(name, **settings)


def off_kinks(count: int = 24) -> Tensor:
    """Places in −4 … 4, none of them where a curve of the registry has a kink."""
    return torch.linspace(-4.0 + 0.0173, 4.0 + 0.0291, count, dtype=torch.float64)


def sample_of(name: str) -> tuple[nn.Module, tuple[Tensor, ...]]:
    """A module that is no curve, and what it is called with, float64."""
    draws = torch.linspace(-2.0, 2.0, 2 * 4 * 6, dtype=torch.float64).reshape(2, 4, 6)
    x = (draws * 1.7).sin() * 2
    settings: dict[str, dict[str, Any]] = {"smart_mixed": {"units": 4}, "rbf": {"inputs": 6, "units": 3}, "top_k": {"share": 0.5}}
    module = ACTIVATIONS[name](**settings.get(name, {})).double()
    given = {
        "rela": (x, x.flip(1), x * 0.5),
        "gaussian_attention": (x, x.flip(1), x * 0.5),
        "sdm": (x, torch.full((2, 4), 1.5, dtype=torch.float64), torch.full((2, 4), 0.7, dtype=torch.float64)),
    }
    return module, given.get(name, (x,))
