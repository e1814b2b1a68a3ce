"""The ``norm`` of a spiking model: a word for one that was made for sequences, or any module of the catalogue."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, Final, Literal, get_args

import torch
from torch import nn

from neurosim.errors import ConfigError, nearest
from neurosim.models.checked import named
from neurosim.models.made import check_names, said_at, with_own
from neurosim.neurons import LIF
from neurosim.nn import MPBN
from neurosim.norms import NORMS, Norm, ThresholdDependentBatchNorm
from neurosim.norms.choice import make_norm, named_module

Word = Literal["none", "bn", "bn_per_step", "tdbn", "bntt", "tebn", "mpbn", "bn+mpbn"]
#: what a config may say: a word, the name of a norm, or ``{kind: name, **arguments}``
NormName = Annotated[Word | str | dict[str, Any], named("norm", lambda chosen: spiking_norm(chosen))]

#: words that are no names, by the name and the settings that they stand for
_SHORT: Final[dict[str, dict[str, Any]]] = {
    "bn": {"kind": "bn_over_time"},
    "bn_per_step": {"kind": "bn_over_time", "statistics": "per_step"},
}


@dataclass(frozen=True)
class SpikingNorm:
    """What ``norm`` names.

    A norm of sequences takes the time axis as its name says. One of single samples is run on all steps at once, as samples of one batch:
    its statistics are those of every step by itself, or, where they are taken over the batch, of time and batch together.

    Args:
        name: As it was chosen.
        current: Name of the norm of the currents; empty: none.
        settings: Its arguments.
        membrane: Arguments of MPBN; None: membranes are not normalised.
    """

    name: str
    current: str = ""
    settings: Mapping[str, Any] = field(default_factory=dict)
    membrane: Mapping[str, Any] | None = None

    def layer(self, features: int, space: Sequence[int], **known: Any) -> Norm:
        """A fresh norm of the currents.

        Args:
            features: Channels.
            space: Height and width of the maps behind a convolution; empty behind a linear layer.
            known: What the model knows: ``steps``, ``depth``, and ``v_threshold`` and ``alpha`` of tdBN.

        Raises:
            ConfigError: An argument is unknown, not the model's own or out of its domain, or the norm does not take such currents.
        """
        entry = NORMS[self.current]
        taken = inspect.signature(entry.make).parameters
        settings = dict(self.settings)
        if "steps" in taken:
            settings = with_own("norm", settings, {"steps": known["steps"]})
        of_threshold = ("v_threshold", "alpha") if entry.make is ThresholdDependentBatchNorm else ()
        for name in ("depth", *of_threshold):
            if name in taken:
                settings.setdefault(name, known[name])
        norm, tried = (make_norm("norm", entry, features, settings) for _ in range(2))
        units = torch.ones(1, 2, features, *(min(side, 2) for side in space))
        try:
            with torch.no_grad():
                tried(units if getattr(norm, "takes_time", False) else units[0])
        except ConfigError as error:
            behind = f"a convolution with maps of {space[0]} × {space[1]}" if space else "a linear layer"
            raise ConfigError(f"norm: {self.current} does not fit behind {behind}: {error}") from None
        return norm

    def on_membrane(self, neuron: LIF, features: tuple[int, ...]) -> nn.Module:
        """The neuron, with its membrane normalised if that was chosen.

        Raises:
            ConfigError: A setting is unknown or out of its domain.
        """
        if self.membrane is None:
            return neuron
        check_names("norm", "mpbn", MPBN, self.membrane, hidden=("neuron", "features"))
        try:
            return MPBN(neuron, features, **self.membrane)
        except ConfigError as error:
            raise said_at("norm", error, self.membrane) from None


def spiking_norm(chosen: object) -> SpikingNorm:
    """What ``norm`` names, if there is such a norm.

    Args:
        chosen: A :data:`Word`, the name of a module in ``NORMS``, or ``{"kind": either, **arguments}``.

    Raises:
        ConfigError: There is none, or it is none that a spiking model can be given.

    >>> spiking_norm({"kind": "bn_per_step", "momentum": 0.5}).settings
    {'statistics': 'per_step', 'momentum': 0.5}
    >>> spiking_norm("layr")
    Traceback (most recent call last):
    neurosim.errors.ConfigError: norm: no norm is named 'layr'; did you mean 'layer'?
    """
    given = {"kind": chosen} if isinstance(chosen, str) else chosen
    if not isinstance(given, Mapping) or not isinstance(given.get("kind"), str):
        raise ConfigError(f"norm: must be a name, or a mapping with its kind such as {{'kind': 'layer'}}, got {chosen!r:.60}")
    name = given["kind"]
    settings = {str(key): value for key, value in given.items() if key != "kind"}
    if name in ("none", "bn+mpbn"):
        if settings:
            own = ": norm: {kind: mpbn, ...} has those of the membranes" if name == "bn+mpbn" else ""
            raise ConfigError(f"norm: {name} takes no settings{own}, got {', '.join(settings)}")
        return SpikingNorm(name) if name == "none" else SpikingNorm(name, "bn_over_time", {}, {})
    if name == "mpbn":
        return SpikingNorm(name, membrane=settings)
    if name not in NORMS and name not in _SHORT:
        modules = [one for one in NORMS if NORMS[one].kind == "module"]
        raise ConfigError(f"norm: no norm is named {name!r}{nearest(name, {*get_args(Word), *modules})}")
    if "freeze" in settings:
        raise ConfigError(
            f"norm.freeze: spiking models take none; ns.freeze_statistics freezes norms that are there, got {settings['freeze']!r}"
        )
    named = {**_SHORT.get(name, {"kind": name}), **settings}
    entry = named_module("norm", named.pop("kind"), lambda entry: True, "norm of currents")
    return SpikingNorm(name, entry.name, named)
