"""What was expected of the studies of activations and norms, for study_verdicts.py."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

import numpy as np

from neurosim.sweep.statistics import Floats

Levels = str | tuple[str, ...]
Mean = Callable[..., Floats]  #: accuracy in per cent by seed, mean over levels by factor; a factor that is not named: over all of them

SMOOTH = ("smelu", "gelu", "silu", "golu", "mish", "tanh")
SWAPPED = ("at once", "at once with teacher", "iterative with teacher")
NOISY, CLEAN = {"p": "4", "leakage": "0.5"}, {"p": "16", "leakage": "0"}


class Expectation(NamedTuple):
    """Something that should be above a limit, or below it."""

    text: str
    number: Callable[[Mean], Floats]  #: by seed, points
    limit: float = 0.0
    below: bool = False
    metric: str | None = None  #: None: the first of the study


def _smooth_gain(mean: Mean, **at: str) -> Floats:
    return mean(activation=SMOOTH, **at) - mean(activation="relu", **at)


def _gains(names: Iterable[str], against: str, factor: str, **at: Levels) -> list[Expectation]:
    where = ", ".join(f"{name} {level if isinstance(level, str) else ' or '.join(level)}" for name, level in at.items())
    return [
        Expectation(
            f"{name} ≥ {against}{f' at {where}' if where else ''}",
            lambda mean, name=name: mean(**{factor: name}, **at) - mean(**{factor: against}, **at),
        )
        for name in names
    ]


def _costs(text: str, factor: str, good: str, bad: str, limit: float | None = None, **at: Levels) -> Expectation:
    """What a level loses against another: something, or less than so many points."""
    return Expectation(
        text, lambda mean: mean(**{factor: good}, **at) - mean(**{factor: bad}, **at), 0.0 if limit is None else limit, limit is not None
    )


def _spread(mean: Mean) -> Floats:
    """The largest difference between activations without noise and with many levels."""
    return np.ptp([mean(activation=name, **CLEAN) for name in ("relu", "leaky_relu", "helu", *SMOOTH)], axis=0)


def _depth_of(name: str) -> Expectation:
    return Expectation(f"50 blocks ≥ 10 blocks, {name}", lambda mean: mean(scheme=name, depth="50") - mean(scheme=name, depth="10"))


def _gain_of_depth(mean: Mean) -> Floats:
    """How much more six layers gain from norms than from as many elements of the weights, than two do."""
    deep, shallow = ({"network": (f"{depth} × 64", f"{depth} × 256")} for depth in ("6", "2"))
    return (
        mean(trained="norms", **deep)
        - mean(trained="random", **deep)
        - mean(trained="norms", **shallow)
        + mean(trained="random", **shallow)
    )


EXPECTED: Mapping[str, list[Expectation]] = {
    "activations": [
        Expectation("without noise, p 16: all activations within 1 point", _spread, 1.0, below=True),
        *_gains(SMOOTH, "relu", "activation", **NOISY),
        Expectation("smooth ≥ relu at p 4, leakage 0.5", lambda mean: _smooth_gain(mean, **NOISY)),
        Expectation("… the more the deeper", lambda mean: _smooth_gain(mean, **NOISY, depth="6") - _smooth_gain(mean, **NOISY, depth="1")),
        Expectation(
            "… the more the more leakage (p 4, depth 6)",
            lambda mean: _smooth_gain(mean, p="4", leakage="0.5", depth="6") - _smooth_gain(mean, p="4", leakage="0", depth="6"),
        ),
        Expectation("… little at depth 1: below 3 points", lambda mean: _smooth_gain(mean, **NOISY, depth="1"), 3.0, below=True),
        Expectation("leakage 0 ≥ leakage 0.5", lambda mean: mean(leakage="0") - mean(leakage="0.5")),
        Expectation("p 16 ≥ p 4", lambda mean: mean(p="16") - mean(p="4")),
    ],
    "interpolation": [
        *(
            Expectation(
                f"i {high} ≥ i {low} at leakage 0.5",
                lambda mean, low=low, high=high: mean(i=high, leakage="0.5") - mean(i=low, leakage="0.5"),
            )
            for low, high in (("0", "0.25"), ("0.25", "0.5"), ("0.5", "0.75"), ("0.75", "1"), ("0", "1"))
        ),
    ],
    "signal_norms": [
        Expectation("clamp ≥ none at p 4", lambda mean: mean(norm="clamp", p="4") - mean(norm="none", p="4")),
        *_gains(("clamp",), "l1", "norm"),
        *_gains(("clamp",), "l2", "norm"),
        *_gains(("clamp",), "l2m", "norm"),
        *_gains(("dyt", "tanh", "batch", "layer", "rms"), "clamp", "norm", p="4"),
        *_gains(("gelu",), "relu", "activation", p="4", norm=("none", "clamp", "batch", "layer", "rms", "dyt", "tanh")),
    ],
    "signal_norms_conv": [
        *_gains(("clamp",), "none", "norm", p="4"),
        *_gains(("clamp",), "l1", "norm"),
        *_gains(("clamp",), "l2", "norm"),
        *_gains(("clamp",), "l2m", "norm"),
        *_gains(("dyt", "batch"), "clamp", "norm", p="4"),
        *_gains(("gelu",), "relu", "activation", p="4", norm=("none", "clamp", "batch", "dyt")),
    ],
    "static_norms": [
        *(one for size in ("8", "64") for one in _gains(("unified",), "batch", "norm", batch_size=size, outliers="none")),
        *(
            _costs(f"{name} within 1 point of layer at batch_size {size}", "norm", "layer", name, 1.0, batch_size=size, outliers="none")
            for name in ("unified", "frozen layer")
            for size in ("8", "64")
        ),
        *(
            _costs(
                f"outliers cost {name} less than 1 point at batch_size {size}",
                "outliers",
                "none",
                "multiplied",
                1.0,
                batch_size=size,
                norm=name,
            )
            for name in ("unified", "layer", "frozen layer")
            for size in ("8", "64")
        ),
        *(
            _costs(f"outliers cost {name} something at batch_size {size}", "outliers", "none", "multiplied", batch_size=size, norm=name)
            for name in ("batch", "power", "unfiltered")
            for size in ("8", "64")
        ),
        *(one for name in ("batch", "power", "unfiltered") for one in _gains(("unified",), name, "norm", outliers="multiplied")),
    ],
    "small_batches": [
        _costs("batch collapses at batch_size 2: more than 5 points below its 64", "batch_size", "64", "2", norm="batch")._replace(
            limit=5.0
        ),
        *_gains(("layer", "group", "online"), "batch", "norm", batch_size="2"),
        *(
            Expectation(
                f"online at batch_size {size} within 1 point of batch at 64",
                lambda mean, size=size: mean(norm="batch", batch_size="64") - mean(norm="online", batch_size=size),
                1.0,
                below=True,
            )
            for size in ("64", "8", "2", "1")
        ),
        *(_costs(f"{name} loses less than 1 point from 64 to 1", "batch_size", "64", "1", 1.0, norm=name) for name in ("layer", "group")),
    ],
    "smooth_clamp": [
        *_gains(("tanh", "dyt"), "clamp", "limit", activation="gelu"),
        *_gains(("tanh", "dyt"), "clamp", "limit", activation="relu"),
        *(
            Expectation(
                f"{limit} with gelu ≥ clamp with relu",
                lambda mean, limit=limit: mean(limit=limit, activation="gelu") - mean(limit="clamp", activation="relu"),
            )
            for limit in ("tanh", "dyt")
        ),
        *_gains(("tanh", "dyt"), "clamp", "limit", activation="gelu", leakage="0.5"),
        *_gains(("tanh", "dyt"), "clamp", "limit", activation="gelu", leakage="0.8"),
        *_gains(("tanh", "dyt"), "clamp", "limit", activation="gelu", leakage="0.8", depth="6"),
    ],
    "hysteresis": [
        *_gains(("0.001", "0.05", "0.5"), "0", "alpha", hardware="digital"),
        *_gains(("0",), "2", "alpha", hardware="digital"),
        *_gains(("0.001", "0.05", "0.5"), "0", "alpha", hardware="photonic"),
        *_gains(("0",), "2", "alpha", hardware="photonic"),
    ],
    "surrogate_width": [*_gains(("1",), "0.01", "width"), *_gains(("1",), "0.1", "width"), *_gains(("1",), "16", "width")],
    "learned_activations": [
        one
        for leakage in ("0", "0.5")
        for one in _gains(("prelu", "rational", "one rational", "step_slopes", "smart_mixed"), "gelu", "activation", leakage=leakage)
    ],
    "norm_free": [
        Expectation("10 blocks ≥ 50 blocks, plain", lambda mean: mean(scheme="plain", depth="10") - mean(scheme="plain", depth="50")),
        Expectation("plain dies: below 20 % at 50 blocks", lambda mean: mean(scheme="plain", depth="50"), 20.0, below=True),
        *(_depth_of(name) for name in ("fixup", "skipinit", "1/√L", "sws+nf", "wn")),
        *_gains(("fixup", "skipinit", "1/√L", "sws+nf", "wn"), "plain", "scheme", depth="50"),
        *_gains(("relu",), "gelu", "activation", scheme=("fixup", "skipinit", "1/√L", "sws+nf")),
    ],
    "self_normalizing": [Expectation("50 blocks ≥ 10 blocks", lambda mean: mean(depth="50") - mean(depth="10"))],
    "activation_swap": [
        *_gains(("none",), "from scratch", "swap", bits="8"),
        *_gains(("iterative with teacher",), "at once", "swap"),
        *_gains(("iterative with teacher",), "at once with teacher", "swap"),
        *_gains(("at once with teacher",), "at once", "swap"),
        *_gains(("from scratch", *SWAPPED), "none", "swap", bits="4"),
        *_gains(("from scratch", *SWAPPED), "none", "swap", bits="4 from 0"),
        *_gains(("4 from 0",), "4", "bits", swap=("from scratch", *SWAPPED)),
        *_gains(("8",), "4", "bits"),
    ],
    "random_core": [
        *_gains(("norms",), "random", "trained"),
        *_gains(("norms",), "last", "trained"),
        *_gains(("all",), "norms", "trained"),
        *(
            Expectation(
                f"norms: 6 × {width} ≥ 2 × {width}",
                lambda mean, width=width: mean(trained="norms", network=f"6 × {width}") - mean(trained="norms", network=f"2 × {width}"),
            )
            for width in ("64", "256")
        ),
        *(
            Expectation(
                f"norms: {depth} × 256 ≥ {depth} × 64",
                lambda mean, depth=depth: mean(trained="norms", network=f"{depth} × 256") - mean(trained="norms", network=f"{depth} × 64"),
            )
            for depth in ("2", "6")
        ),
        Expectation("norms ≥ random, the more the deeper", _gain_of_depth),
    ],
    "threshold_sparsity": [
        *(one for share in ("0.7", "0.9") for one in _gains(("wina", "chess"), "teal", "method", sparsity=share)),
        *(
            one
            for name in ("gelu", "relu")
            for share in ("0.5", "0.7", "0.9")
            for one in _gains(("scap kde",), "scap zero", "method", activation=name, sparsity=share)
        ),
        *(
            one._replace(metric="test_output_error_sparse", below=True, text=one.text.replace("≥", "≤") + ", error of outputs")
            for share in ("0.5", "0.9")
            for one in _gains(("wina",), "teal", "method", sparsity=share)
        ),
        *_gains(("relu",), "gelu", "activation", sparsity="0.9"),
        Expectation("half of the inputs cost less than 1 point", lambda mean: mean(sparsity="0") - mean(sparsity="0.5"), 1.0, below=True),
    ],
    "sparse_activations": [
        *(
            Expectation(
                f"{name} fails at depth 30: below 20 %", lambda mean, name=name: mean(activation=name, depth="30"), 20.0, below=True
            )
            for name in ("shifted_relu", "soft_threshold")
        ),
        *_gains(("crelu 0.5", "crelu 1", "crelu 2"), "shifted_relu", "activation", depth="30"),
        *_gains(("cst 0.5", "cst 1", "cst 2"), "soft_threshold", "activation", depth="30"),
        *_gains(("crelu 1", "crelu 2"), "crelu 0.5", "activation", depth="10"),
        *_gains(("cst 1", "cst 2"), "cst 0.5", "activation", depth="10"),
    ],
    "sparse_top_k": [*_gains(("statistical_top_k",), "top_k", "activation")],
    "number_formats": [
        *_gains(("e2m1",), "int4", "format"),
        *_gains(("e2m1",), "e3m0", "format"),
        *_gains(("dint4",), "int4", "format"),
        *_gains(("e2m0",), "int3", "format"),
        *_gains(("dint3",), "int3", "format"),
    ],
    "choice": [
        *(
            one
            for hardware in ("photonic", "memory")
            for one in (
                *_gains(("batch", "layer", "rms", "dyt"), "none", "norm", hardware=hardware),
                *_gains(("smelu", "gelu", "silu", "tanh"), "relu", "activation", hardware=hardware),
                *(
                    Expectation(
                        f"{norm} with {name} ≥ batch with relu at hardware {hardware}",
                        lambda mean, hardware=hardware, norm=norm, name=name: (
                            mean(hardware=hardware, norm=norm, activation=name) - mean(hardware=hardware, norm="batch", activation="relu")
                        ),
                    )
                    for norm, name in (("dyt", "gelu"), ("none", "tanh"))
                ),
            )
        ),
    ],
}
