"""What the layers of a model did, by path."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from neurosim.analysis.layer import LayerRecording
from neurosim.analysis.recording_file import write_recording
from neurosim.convert.report import table
from neurosim.errors import ConfigError, nearest


class Recording(Mapping[str, LayerRecording]):
    """What the layers of a model did, by path; ``print`` shows it as a table.

    Args:
        layers: The layers, in the order of the model.
        notes: What the user writes beside it: texts and numbers, by name; saved with it.
        meta: When, with what and by which command it was made.
    """

    def __init__(self, layers: Mapping[str, LayerRecording], notes: Mapping[str, Any] | None = None, meta: Any = None) -> None:
        self._layers = dict(layers)
        self.notes: dict[str, Any] = dict(notes or {})
        self.meta: dict[str, Any] = dict(meta or {})

    def __getitem__(self, path: str) -> LayerRecording:
        """The layer of that path.

        Raises:
            ConfigError: It was not recorded.
        """
        if path not in self._layers:
            raise ConfigError(f"recording: no layer {path!r} was recorded{nearest(str(path), self._layers)}")
        return self._layers[path]

    def __contains__(self, path: object) -> bool:
        return path in self._layers

    def get(self, path: str, default: Any = None) -> Any:
        """The layer of that path, or ``default``."""
        return self._layers.get(path, default)

    def __iter__(self) -> Iterator[str]:
        return iter(self._layers)

    def __len__(self) -> int:
        return len(self._layers)

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write ``recording.h5``, atomically; :func:`neurosim.load_recording` reads it.

        The layout is told in :mod:`neurosim.analysis.recording_file`.

        Raises:
            ConfigError: Nothing was recorded, the calls of a layer do not fit together, or notes are not JSON.
        """
        return write_recording(path, list(self.values()), self.notes, self.meta)

    def __repr__(self) -> str:
        rows = [
            (path or "(model)", one.type, ", ".join(one.signals) or "not called", str(one.n_steps), str(one.batch), _units(one))
            for path, one in self._layers.items()
        ]
        return "\n".join(["recording", *table(("layer", "type", "signals", "steps", "samples", "units"), rows)])


def _units(layer: LayerRecording) -> str:
    shape = " × ".join(map(str, layer.unit_shape)) or "1"
    return shape if layer.unit_index is None else f"{len(layer.unit_index)} of {shape}"
