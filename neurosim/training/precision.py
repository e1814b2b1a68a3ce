"""Where the numbers are computed and in which precision."""

from __future__ import annotations

from typing import Final

import torch

from neurosim.errors import ConfigError, nearest

DTYPES: Final = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def pick_device(name: str) -> torch.device:
    """The device a config's ``train.device`` names; ``auto`` is a GPU where there is one.

    Raises:
        ConfigError: Not a device name, or ``cuda`` where torch sees none.

    >>> pick_device("cpu")
    device(type='cpu')
    """
    if name not in ("cpu", "cuda", "auto"):
        raise ConfigError(f"train.device: no device is named {name!r}{nearest(name, ('cpu', 'cuda', 'auto'))}")
    if name == "cuda" and not torch.cuda.is_available():
        raise ConfigError("train.device: cuda needs a GPU that torch can use, torch sees none here; use cpu or auto")
    return torch.device("cuda" if name != "cpu" and torch.cuda.is_available() else "cpu")


def autocast(device: torch.device, precision: str) -> torch.autocast:
    """The context of a forward pass in ``fp32`` (which does nothing), ``bf16`` or ``fp16``; weights stay float32.

    Raises:
        ConfigError: Not a precision, or one this device does not compute in.
    """
    if precision not in DTYPES:
        raise ConfigError(f"train.precision: no precision is named {precision!r}{nearest(precision, DTYPES)}")
    if precision != "fp32" and not torch.amp.is_autocast_available(device.type):
        raise ConfigError(f"train.precision: {precision} needs automatic mixed precision, which torch has not for {device.type}; use fp32")
    if precision == "bf16" and device.type == "cuda" and not torch.cuda.is_bf16_supported(including_emulation=False):
        raise ConfigError(f"train.precision: bf16 needs a GPU that computes in it, {torch.cuda.get_device_name(device)} does not; use fp16")
    return torch.autocast(device.type, dtype=DTYPES[precision], enabled=precision != "fp32")


def grad_scaler(device: torch.device, precision: str) -> torch.amp.GradScaler:
    """Scales the loss of ``fp16`` so that small gradients do not vanish; does nothing in other precisions.

    Source:
        P. Micikevicius et al., "Mixed precision training", ICLR 2018, section 3.2 (arXiv:1710.03740).
    """
    return torch.amp.GradScaler(device.type, enabled=precision == "fp16")
