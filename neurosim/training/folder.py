"""The folder of a run: where everything lies that it leaves behind."""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import shlex
import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from torch import nn

from neurosim import __version__
from neurosim.atomicfile import write_text
from neurosim.config import RunConfig, dump_config, load_config
from neurosim.convert import Conversion
from neurosim.errors import CheckpointError
from neurosim.initialisers import Initialisation
from neurosim.training.provenance import environment
from neurosim.training.weights import save_weights

Which = Literal["best", "last"]
_HINT = "a run folder holds resolved.yaml"
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class RunFolder:
    """``<log.dir>/<name>/<YYYYmmdd-HHMMSS>/`` and what is in it.

    .. code-block:: text

        resolved.yaml     the whole configuration, every default written out
        versions.json     versions, machine, packages, the recipe
        conversion.txt    which layers are on hardware, which are not, and why
        initialisation.txt  first weights that were taken from data, layer by layer
        metrics.csv       one row every few steps, one per epoch, one for the test; metrics.jsonl has the same rows
        checkpoints/      step-00000120.pt …: to go on from
        best/  last/      weights.safetensors, config.yaml, metrics.json
        .lock             locked while a process trains here, and its number

    Args:
        path: The folder.
        after_step: Called after every step of the training with the steps done and those of the whole run; what it raises ends the run.
    """

    path: Path
    after_step: Callable[[int, int], None] | None = None

    @property
    def resolved(self) -> Path:
        """The configuration the run was started with."""
        return self.path / "resolved.yaml"

    @property
    def checkpoints(self) -> Path:
        """Where the checkpoints lie."""
        return self.path / "checkpoints"

    def config(self) -> RunConfig:
        """The configuration the run was started with.

        Raises:
            ConfigError: The file was changed and does not hold any more.
        """
        return load_config(self.resolved)

    def versions(self) -> dict[str, Any]:
        """What was written down about versions, machine and recipe; empty when the file is gone."""
        file = self.path / "versions.json"
        return dict(json.loads(file.read_text(encoding="utf-8"))) if file.is_file() else {}

    def resume_command(self) -> str:
        """What to type to go on with this run."""
        versions = self.versions()
        own = [] if versions.get("recipe_shipped", True) else ["--recipe", str(versions["recipe"])]
        return shlex.join(["neurosim", "train", "--resume", str(self.path), *own])

    def weights(self, which: str) -> Path:
        """The weights file of ``best`` or ``last``."""
        return self.path / which / "weights.safetensors"

    def save(self, which: Which, model: nn.Module, metrics: Mapping[str, Any]) -> None:
        """Write the weights of ``model`` with their configuration and metrics; each file is replaced in one step, the weights first.

        Args:
            which: ``best`` or ``last``.
            model: The model, converted when the configuration has hardware.
            metrics: What it reached, JSON-able.
        """
        config = self.resolved.read_text(encoding="utf-8")
        folder = self.path / which
        folder.mkdir(exist_ok=True)
        profile = self.versions().get("profile_sha256", "")
        head = {"neurosim": __version__, "config": config, "metrics": json.dumps(dict(metrics)), "profile_sha256": profile}
        save_weights(self.weights(which), model, head)
        write_text(folder / "config.yaml", config)
        write_text(folder / "metrics.json", json.dumps(dict(metrics), indent=2) + "\n")

    def record_conversion(self, model: nn.Module) -> None:
        """Write ``conversion.txt``, what of the model is on hardware and why the rest is not; a refused layer is a warning line as well."""
        conversion = getattr(model, "conversion", None)
        if not isinstance(conversion, Conversion):
            return
        write_text(self.path / "conversion.txt", f"{conversion}\n")
        for layer in conversion.layers:
            if layer.status == "refused":
                _log.warning("%s (%s) stays digital, it cannot be put on %s: %s", layer.path, layer.type, conversion.profile, layer.reason)

    @property
    def begun(self) -> bool:
        """Whether there is a checkpoint to go on from."""
        return any(self.checkpoints.glob("*"))

    def record_initialisation(self, model: nn.Module) -> None:
        """Write ``initialisation.txt``, how the first weights were taken from data; a layer that missed its variance is a warning line."""
        report = getattr(model, "initialisation", None)
        if not isinstance(report, Initialisation):
            return
        write_text(self.path / "initialisation.txt", f"{report}\n")
        for layer in report.missed:
            _log.warning("%s: no scale of its weights gives the variance that model.init asks for; see initialisation.txt", layer)

    def reopen(self) -> None:
        """Take ``metrics.json`` away: the run is not finished any more, it goes on."""
        (self.path / "metrics.json").unlink(missing_ok=True)

    def discard_if_unused(self) -> None:
        """Remove the folder when nothing was trained in it: neither a checkpoint nor weights are there."""
        if not self.begun and not any(self.path.glob("*/weights.safetensors")):
            shutil.rmtree(self.path, ignore_errors=True)
            with contextlib.suppress(OSError):  # other runs of that name are there
                self.path.parent.rmdir()

    def finish(self, metrics: Mapping[str, Any]) -> dict[str, Any]:
        """Write ``metrics.json``: what the best epoch reached, and ``metrics``; and give both back."""
        best = json.loads((self.path / "best" / "metrics.json").read_text(encoding="utf-8"))
        reached = {name: value for name, value in best.items() if name.startswith(("train_", "validation_"))}
        everything = {"best_epoch": best["epoch"], **reached, **metrics}
        write_text(self.path / "metrics.json", json.dumps(everything, indent=2) + "\n")
        return everything


def create_folder(config: RunConfig, facts: Mapping[str, Any]) -> RunFolder:
    """Make the folder of a new run and write what is known at its start.

    Args:
        config: The run's configuration.
        facts: More entries for ``versions.json``, JSON-able.

    Raises:
        OSError: ``log.dir`` cannot be written to.
    """
    base = Path(config.log.dir) / config.name
    stamp = time.strftime("%Y%m%d-%H%M%S")
    path = _first_free(base, stamp)
    folder = RunFolder(path)
    text = dump_config(config)
    write_text(folder.resolved, text)
    versions = {**environment(), "config_sha256": hashlib.sha256(text.encode()).hexdigest(), **facts}
    write_text(path / "versions.json", json.dumps(versions, indent=2) + "\n")
    return folder


def _first_free(base: Path, stamp: str) -> Path:
    """A new folder named ``stamp``, or ``stamp-2`` and so on when runs start within the same second."""
    number = 1
    while True:
        path = base / (stamp if number == 1 else f"{stamp}-{number}")
        try:
            path.mkdir(parents=True)
        except FileExistsError:
            number += 1
        else:
            return path


def open_folder(path: str | os.PathLike[str]) -> RunFolder:
    """The run in ``path``.

    Raises:
        CheckpointError: There is no run; one that may be meant is named.
    """
    folder = RunFolder(Path(path))
    if folder.resolved.is_file():
        return folder
    if not folder.path.exists():
        raise CheckpointError(f"{path}: must be the folder of a run, does not exist")
    inside = sorted(found.parent for found in folder.path.glob("*/resolved.yaml"))
    above = folder.path.parent if (folder.path.parent / "resolved.yaml").is_file() else None
    meant = inside[-1] if inside else above
    raise CheckpointError(f"{path}: must be the folder of a run, is not ({_HINT})" + (f"; did you mean {meant}?" if meant else ""))
