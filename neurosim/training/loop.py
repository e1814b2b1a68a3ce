"""The mechanics of a training loop, so that a recipe only has to say what is trained and how."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Iterable, Iterator, Mapping
from types import TracebackType
from typing import Any, Final, Self

import torch
from torch import Tensor, nn

from neurosim.config import RunConfig
from neurosim.errors import CheckpointError, ConfigError, DivergenceError, RunError
from neurosim.random import permutation, stream
from neurosim.training.build import check_initialized
from neurosim.training.checkpoint import Checkpoints
from neurosim.training.clipping import adaptive_clip
from neurosim.training.constraints import constrain
from neurosim.training.evaluate import Batches, measure
from neurosim.training.folder import RunFolder
from neurosim.training.interrupt import Interrupted, StopSignals
from neurosim.training.logs import MetricsLog, Scalars, Value, add_scalars, tensorboard
from neurosim.training.metrics import METRICS, accuracy
from neurosim.training.noise import NoisePlan
from neurosim.training.optim import make_schedule, set_learning_rate, take_step
from neurosim.training.penalty import penalty
from neurosim.training.precision import autocast, grad_scaler
from neurosim.training.progress import Progress
from neurosim.training.state import State, Sums, Trained
from neurosim.training.stopping import Watch, is_over, observe
from neurosim.training.weights import all_finite

_ADVICE: Final = (
    "try a lower train.optimizer.lr, a longer train.scheduler.warmup_steps, train.clip_grad_norm: 1.0, or bf16 or fp32 instead of fp16"
)
_log = logging.getLogger(__name__)


class Loop:
    """Counts, logs, saves, resumes and stops; used as ``with Loop(...) as loop``, within which SIGINT and SIGTERM end the run after a save.

    ``loop.epochs()`` gives the epochs that are left, ``loop.order(epoch)`` the order of the samples, ``loop.steps(batches)`` the batches,
    learning rate and noise set for each; ``loop.update(...)`` takes the step, and ``loop.end_epoch(...)`` closes the epoch.

    Args:
        config: Of the run.
        folder: Of the run; when it has checkpoints, the newest is taken up.
        model: The model, on its device.
        optimizer: Of its parameters.
        samples: Size of the training set.
        data: Fingerprint of the data; a run is not resumed on other data.
        watch: Name of the validation metric that picks the best epoch.

    Raises:
        ConfigError: The configuration asks for something that is not to be had here.
        CheckpointError: The checkpoint does not fit.
    """

    def __init__(
        self,
        config: RunConfig,
        folder: RunFolder,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        *,
        samples: int,
        data: str = "",
        watch: str = "accuracy",
    ) -> None:
        train = config.train
        self.config, self.folder, self.model, self.optimizer = config, folder, model, optimizer
        self.state = State()
        self.device = next(model.parameters()).device
        self._scaler = grad_scaler(self.device, train.precision)
        constrain(model, optimizer, config)
        self._clip = None if train.clip is None else adaptive_clip(model, **train.clip.model_dump(exclude={"kind"}))
        self._penalty = penalty(model, config)
        self._trained = Trained(model, optimizer, self._scaler, self.device)
        self._samples = samples
        self._data = {"samples": samples, "fingerprint": data}
        self._used = usable(samples, config.data.batch_size)
        self.steps_per_epoch = math.ceil(self._used / config.data.batch_size)
        self.total_steps = self.steps_per_epoch * train.epochs
        self._metric = METRICS[watch]
        self._schedule = make_schedule(total_steps=self.total_steps, steps_per_epoch=self.steps_per_epoch, **train.scheduler.model_dump())
        ramp_steps = train.noise.ramp_epochs * self.steps_per_epoch
        self._noise = NoisePlan(model, train.noise.schedule, ramp_steps=ramp_steps, redraw_every=train.noise.redraw)
        self.autocast()  # refuses what this device cannot compute before any work is done
        self._checkpoints = Checkpoints(folder.checkpoints, train.checkpoint.keep)
        self._rows = MetricsLog(folder.path)
        self._signals = StopSignals()
        self._writer: Scalars | None = None

    def __enter__(self) -> Self:
        check_initialized(self.config, self.folder, self.model)
        self._restore()
        self.folder.record_conversion(self.model)
        if self.config.log.tensorboard:
            self._writer = tensorboard(self.folder.path / "tensorboard", self.state.step + 1)
        self._started = time.monotonic() - self.state.seconds
        self._progress = Progress(self.config.name, self.total_steps, self.state.step)
        self._signals.__enter__()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._signals.__exit__(kind, error, trace)
        self._progress.close()
        self._noise.end()
        if self._penalty is not None:
            self._penalty.end()
        if self._writer is not None:
            self._writer.close()

    def epochs(self) -> Iterator[int]:
        """The epochs that are left, counted from 0; the first may have been begun in an earlier part of the run."""
        while self.state.epoch < self.config.train.epochs and not self.state.stopped_early:
            yield self.state.epoch

    @property
    def done_in_epoch(self) -> int:
        """Steps of the current epoch that are done already."""
        return self.state.step - self.state.epoch * self.steps_per_epoch

    def order(self, epoch: int) -> Tensor:
        """The order of the training samples in ``epoch``: indices, int64; a function of the run's seed and the epoch alone."""
        return permutation(stream(self.config.seed, "data", "order", draw=epoch), self._samples)[: self._used]

    def steps(self, batches: Iterable[tuple[Tensor, Tensor]]) -> Iterator[tuple[Tensor, Tensor]]:
        """The batches on the model's device, the model in training mode, learning rate and noise set for the step that each is for."""
        self.model.train()
        for inputs, targets in batches:
            set_learning_rate(self.optimizer, self.learning_rate(self.state.step))
            self._noise.before_step(self.state.step, self.state.epoch)
            yield inputs.to(self.device), targets.to(self.device)

    def learning_rate(self, step: int) -> float:
        """Of the step with that number, counted from 0."""
        return self.config.train.optimizer.lr * self._schedule.factor(step)

    def autocast(self) -> torch.autocast:
        """The context in which outputs and loss are computed: ``train.precision``."""
        return autocast(self.device, self.config.train.precision)

    def update(self, loss: Tensor, outputs: Tensor, targets: Tensor) -> None:
        """Take the optimiser's step for ``loss``; then log, save and stop, when it is time to.

        Args:
            loss: Scalar with a graph, the mean over the batch.
            outputs, targets: Of the batch, for the training accuracy.

        Raises:
            RunError: The loss or a gradient is not finite; the checkpoints are those of before.
            Interrupted: A signal came; the state is saved.
            BaseException: Whatever ``after_step`` of the run's folder raises.
        """
        value = float(loss.detach())
        if not math.isfinite(value):
            raise self._diverged(self._now(), f"the loss is {value}")
        total = loss if self._penalty is None else loss + self._penalty(self.state.step)
        try:
            take_step(total, self.optimizer, self._scaler, self.config.train.clip_grad_norm, self._clip)
        except RunError as error:
            raise self._diverged(self._now(), str(error)) from None
        state = self.state
        state.step += 1
        hits = float(accuracy(outputs.detach(), targets).sum())
        for sums in (state.of_epoch, state.of_window):
            sums.add(value, hits, len(targets))
        self._progress.advance(self._summary())
        if state.step % self.config.log.every_steps == 0:
            self._add_row("step", state.of_window.means())
            state.of_window = Sums()
        every = self.config.train.checkpoint.every_steps
        metrics = {"epoch": state.epoch, "step": state.step, **state.of_epoch.means()}
        self._save_and_stop(every is not None and state.step % every == 0, metrics)
        if self.folder.after_step is not None:
            self.folder.after_step(state.step, self.total_steps)

    def evaluate(self, batches: Batches) -> dict[str, float]:
        """Loss and the watched metric on held-out samples, with full noise and without touching the noise of the training."""
        with self._noise.evaluation():
            return measure(self.model, batches, ["loss", self._metric])

    def end_epoch(self, validation: Mapping[str, float]) -> None:
        """Close the epoch: log it, keep the weights if they are the best so far, save, stop if asked to.

        Args:
            validation: What :meth:`evaluate` gave. Empty: without a validation set the last epoch counts as the best.

        Raises:
            RunError: A value or a weight is not finite; the checkpoints are those of before.
            Interrupted: A signal came; the state is saved.
        """
        state, train = self.state, self.config.train
        for name, value in validation.items():
            if not math.isfinite(value):
                raise self._diverged(f"after {state.step} steps", f"the validation {name} is {value}")
        self._require_finite_weights()
        state.epoch += 1
        row = {**state.of_epoch.means(), **{f"validation_{name}": value for name, value in validation.items()}}
        state.of_epoch = Sums()
        if validation:
            stopping = train.early_stopping
            delta = stopping.min_delta if stopping is not None else 0.0
            better = self._metric.higher_is_better
            state.watch = observe(state.watch, validation[self._metric.name], state.epoch, higher_is_better=better, min_delta=delta)
            state.stopped_early = is_over(state.watch, stopping.patience if stopping is not None else None)
        elif train.early_stopping is not None:
            raise ConfigError("train.early_stopping: needs a validation set to watch, data.validation is 0; set it, or leave this out")
        else:
            state.watch = Watch(best_epoch=state.epoch)
        row = self._add_row("epoch", row)
        if state.watch.best_epoch == state.epoch:
            self.folder.save("best", self.model, row)
        over = state.stopped_early or state.epoch == train.epochs
        self._save_and_stop(over or state.epoch % train.checkpoint.every_epochs == 0, row)

    def finish(self, test: Mapping[str, float]) -> dict[str, Any]:
        """Log what the best model reached on the test set.

        Returns:
            The metrics of the run: those of the best epoch, and of the test as ``test_…``; also in ``metrics.json`` of the folder.
        """
        row = {f"test_{name}": value for name, value in test.items()}
        self._add_row("test", row)
        return self.folder.finish({**row, "epochs": self.state.epoch, "stopped_early": self.state.stopped_early})

    def _add_row(self, event: str, values: Mapping[str, Value]) -> dict[str, Value]:
        state = self.state
        state.seconds = time.monotonic() - self._started
        epoch = state.epoch if event != "step" else state.epoch + 1
        row: dict[str, Value] = {"event": event, "epoch": epoch, "step": state.step, "seconds": round(state.seconds, 3)}
        row["lr"] = self.learning_rate(state.step - 1)
        if self._noise.active:
            row["noise_strength"] = self._noise.strength(state.step - 1)
        row |= values
        self._rows.add(row)
        if self._writer is not None:
            add_scalars(self._writer, row, state.step)
        return row

    def _save_and_stop(self, due: bool, metrics: Mapping[str, Value]) -> None:
        signum = self._signals.received  # read once: a signal may come at any moment
        if due or signum is not None:
            self._require_finite_weights()
            self._rows.flush_to_disk()
            self.state.rows = self._rows.rows
            self.state.seconds = time.monotonic() - self._started
            self._checkpoints.save(self.state.step, {"state": self.state.to_dict(), "data": self._data, **self._trained.snapshot()})
            self.folder.save("last", self.model, metrics)
        if signum is not None:
            raise Interrupted(signum, self.folder.resume_command())

    def _restore(self) -> None:
        content = self._checkpoints.newest()
        if content is None:
            self._rows.keep(0)
            return
        if content["data"] != self._data:
            raise CheckpointError(f"{self.folder.path}: must go on with the data it was started on, {content['data']}, got {self._data}")
        self._trained.restore(content)
        self.state = State.from_dict(content["state"])
        if next(self.epochs(), None) is not None:
            self.folder.reopen()
        try:
            self._rows.keep(self.state.rows)
        except CheckpointError as error:
            _log.warning("%s; going on after these", error)

    def _require_finite_weights(self) -> None:
        if not all_finite(self.model):
            raise self._diverged(f"after {self.state.step} steps", "a weight is not finite")

    def _now(self) -> str:
        return f"step {self.state.step + 1} (epoch {self.state.epoch + 1})"

    def _diverged(self, where: str, what: str) -> DivergenceError:
        lr = self.learning_rate(min(self.state.step, self.total_steps - 1))
        kept = self._checkpoints.paths()
        safe = f"the last good checkpoint is {kept[-1]}" if kept else "there is no checkpoint yet"
        return DivergenceError(f"{where}: {what} at learning rate {lr:.3g}; {safe}. {_ADVICE}")

    def _summary(self) -> str:
        sums, best = self.state.of_epoch, self.state.watch.best
        text = f"epoch {self.state.epoch + 1} of {self.config.train.epochs}, loss {sums.loss / sums.samples:.3f}"
        return text if best is None else f"{text}, best validation {self._metric.name} {best:.4g}"


def usable(samples: int, batch_size: int) -> int:
    """How many samples an epoch uses: all, or all but one when the last batch would be a single one, which batch norm cannot train on.

    Which sample is left out changes with the order of each epoch.

    >>> usable(100, 32), usable(97, 32), usable(1, 32)
    (100, 96, 1)
    """
    return samples - 1 if samples % batch_size == 1 and samples > 1 else samples
