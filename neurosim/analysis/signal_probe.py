"""How signals propagate through a model: moments, noise, saturation, levels, spikes and dead units of every layer."""

from __future__ import annotations

import contextlib
import copy
import glob
from collections.abc import Iterable, Iterator, Sized
from typing import Any, Final, Literal

import torch
from torch import Tensor, nn
from tqdm import tqdm

from neurosim.analysis.inputs import inputs_of
from neurosim.analysis.layer import LayerRecording
from neurosim.analysis.layer_sums import LayerSums, bounds_of, samples_of, signals_of
from neurosim.analysis.observe import layer_by_layer, watching
from neurosim.analysis.recorder import record
from neurosim.analysis.recording import Recording
from neurosim.analysis.signal_report import LayerProbe, Probe
from neurosim.analysis.stage_levels import StageWatch, has_noise, quantizers_of
from neurosim.analysis.streaming import Covariance, Moments
from neurosim.analysis.survey import Seen, Survey, watched_modules
from neurosim.checks import number, one_of, whole
from neurosim.convert.given import check_model
from neurosim.convert.select import Selection, analog_layers, as_list, check_globs, matches, noise_counters
from neurosim.errors import ConfigError, ConversionError, DataError
from neurosim.neurons import LI, is_neurons
from neurosim.nn.answer import answer
from neurosim.nn.chain import AnalogChain
from neurosim.nn.wrappers import unwrapped
from neurosim.random import Stream

_PASSED_ON: Final = (nn.Identity, nn.Flatten, nn.Unflatten, nn.modules.dropout._DropoutNd)  #: give in evaluation what they are given
_APART: Final = 1 << 20  #: draws between one pass and the next

Sums = dict[tuple[str, tuple[int, ...]], LayerSums]  #: of every layer, by path and shape of its units


def probe(
    model: nn.Module,
    data: Tensor | Iterable[Any],
    layers: Selection = None,
    *,
    passes: int = 2,
    against: Literal["off", "ideal"] = "off",
    tau: float = 0.025,
    training: bool = False,
    stream: Stream | None = None,
) -> Probe:
    r"""What each layer makes of its signals: the signal-propagation plot of a model, with what hardware adds to it.

    Of the outputs :math:`x` of a layer with channels :math:`c`, over all samples, positions and steps:

    .. math::
        \overline{\mu^2} = \operatorname{mean}_c \mu_c^2, \qquad \overline{\sigma^2} = \operatorname{mean}_c \sigma_c^2, \qquad
        \mathrm{SNR} = \overline{\sigma^2(\hat x)} \big/ \overline{(x - \hat x)^2},

    with :math:`\hat x` the outputs of the same layer in a pass without noise, so that noise from all layers before counts too.

    Everything is done on a copy: the model, its counters and hooks, and torch's generators are afterwards what they were. The noise is that
    of the model's next forwards; batch after batch only sums are kept.

    Args:
        model: Digital, on simulated hardware, or with neurons.
        data: What the model is called with: one batch, or several, a ``DataLoader`` for example; of a tuple, its first entry.
        layers: Globs over module paths, types, or a list of both; None takes what computes: every module in which no other runs, but for
            those that pass on what they are given, and residual blocks, where a module's result is added to a shortcut.
        passes: How many passes with noise are compared with one without, ≥ 1; all other numbers are of the first.
        against: What noise is: ``off``, all random errors, those frozen in the chip included; ``ideal``, all that hardware does.
        tau: Up to which share of the mean magnitude of its layer a channel is dormant, ≥ 0.
        training: Look at the model in training mode: batch norms by the statistics of every batch, as they are before any training.
        stream: For models that take one: batch n is run with draw n of it, in every pass.

    Returns:
        A :class:`neurosim.analysis.Probe`.

    Raises:
        ConfigError: An argument is out of its domain, or a layer is not there or gives no signal.
        ConversionError: The model cannot be copied.
        DataError: There are no samples, or the model does not take them.

    Source:
        A. Brock, S. De, S. L. Smith, "Characterizing signal propagation to close the performance gap in unnormalized ResNets", ICLR 2021,
        section 3 (mean², variance, residual-branch variance); G. Sokar et al., "The dormant neuron phenomenon in deep reinforcement
        learning", ICML 2023, definition 3.1 (dormant units).

    >>> import neurosim as ns
    >>> net = nn.Sequential(nn.Linear(2, 2, bias=False), nn.Hardtanh())
    >>> _ = net[0].weight.data.copy_(torch.tensor([[1.0, 0.0], [0.0, 2.0]]))
    >>> print(ns.probe(net, torch.tensor([[1.0, 1.0], [-1.0, -1.0], [0.5, 0.0], [-0.5, 0.0]])))
    4 samples through 2 layers
      layer  type      units  mean²  variance  saturated  kurtosis  dormant  dead  rank
      0      Linear    2      0      1.31                 -0.524    0.0%     0.0%  1.6
      1      Hardtanh  2      0      0.562     50.0%      -1.37     0.0%     0.0%  1.6
    """
    whole("probe: passes", passes, 1)
    one_of("probe: against", against, ("off", "ideal"))
    number("probe: tau", tau, ge=0)
    if not isinstance(training, bool):
        raise ConfigError(f"probe: training must be true or false, got {training!r:.60}")
    check_model("probe", model, stream)
    batches = inputs_of("probe", data)
    try:
        twin = copy.deepcopy(unwrapped(model)).train(training)
    except Exception as error:
        raise ConversionError(f"probe: the model must be deep-copyable, got {type(error).__name__}: {error}") from error
    place = next((value.device for value in (*twin.parameters(), *twin.buffers())), torch.device("cpu"))
    with torch.no_grad(), layer_by_layer():
        return _Prober(twin, layers, passes if has_noise(twin, against) else 0, against, tau, stream, place).run(batches, data)


class _Prober:
    """A probe of a model that nobody else uses."""

    def __init__(
        self,
        twin: nn.Module,
        layers: Selection,
        passes: int,
        against: Literal["off", "ideal"],
        tau: float,
        stream: Stream | None,
        place: torch.device,
    ) -> None:
        self.twin, self.layers, self.passes, self.against, self.tau, self.stream = twin, layers, passes, against, tau, stream
        self.place = place
        self.modules = watched_modules(twin)
        self.counters = noise_counters(twin)
        self.starts = {path: int(counter.draw) for path, counter in self.counters.items()}
        products = {path: layer.chain for path, layer in analog_layers(twin).items() if not is_neurons(layer)}
        self.stages = {path: StageWatch(chain) for path, chain in products.items()} | quantizers_of(twin)
        self.seen: dict[str, Seen] = {}
        self.rows: list[str] = []
        self.bounds: dict[str, tuple[float, float] | None] = {}
        self.sums: Sums = {}

    def run(self, batches: Iterator[Tensor], data: Any) -> Probe:
        """All batches."""
        samples, first = 0, True
        total = 1 if isinstance(data, Tensor) else len(data) if isinstance(data, Sized) else None
        for at, batch in enumerate(tqdm(batches, "probe", total, leave=False, delay=2, dynamic_ncols=True)):
            x = batch.to(self.place)
            if not x.numel():
                continue
            if first:
                self._survey(x, at)
                first = False
            samples += self._batch(x, at)
        if not samples:
            raise DataError("probe: there must be at least one sample, the data hold none")
        return Probe(tuple(self._results()), samples, self.passes, self.against, self.tau)

    def _survey(self, x: Tensor, at: int) -> None:
        """Find out which layers there are."""
        survey = Survey(self.modules)
        with watching(self.modules.values(), survey):
            self._forward(x, at, 0)
        self.seen = survey.seen
        for path, watch in self.stages.items():
            watch.begin(self.seen[path].numbers if path in self.seen else 0)
        if self.layers is None:
            self.rows = [path for path, seen in self.seen.items() if self._computes(seen)] or list(self.seen)[-1:]
        else:
            globs = as_list(self.layers)
            check_globs("probe", globs, self.modules, "layer")
            self.rows = [path for path in self.seen if matches(path, self.modules[path], globs)]
        if not self.rows:
            raise ConfigError("probe: the model runs none of these layers, or they give no tensor of numbers")
        self.bounds = {path: bounds_of(self.modules[path]) for path in self.rows}

    def _computes(self, seen: Seen) -> bool:
        return bool(seen.branches) or (seen.leaf and not isinstance(self.modules[seen.path], _PASSED_ON))

    def _batch(self, x: Tensor, at: int) -> int:
        """All passes of one batch; how many samples it has."""
        paths = dict.fromkeys([*self.rows, *(branch for path in self.rows for branch in self.seen[path].branches)])
        quiet = None
        if self.passes:
            with self._without_noise():
                quiet = self._recorded(paths, x, at, 0)
        for one in range(max(self.passes, 1)):
            for watch in self.stages.values():
                watch.active = one == 0
            found = self._recorded(paths, x, at, one)
            for watch in self.stages.values():
                watch.active = False
            for path, layer in found.items():
                if one == 0:
                    self._take(path, layer)
                if quiet is not None:
                    for noisy, without in zip(signals_of(layer), signals_of(quiet[path]), strict=True):
                        self._of(path, noisy).add_noise(noisy, without, first=one == 0)
        return min((samples_of(layer) for layer in found.values() if layer.signals), default=0)

    def _take(self, path: str, layer: LayerRecording) -> None:
        for signal in signals_of(layer):
            self._of(path, signal).add(signal, self.bounds.get(path))
        potentials = layer.calls.get("membrane", [])
        for signal, v in zip(signals_of(layer), potentials, strict=False):
            self._of(path, signal).add_membrane(v)

    def _of(self, path: str, signal: Tensor) -> LayerSums:
        units = tuple(signal.shape[1:])
        return self.sums.setdefault((path, units), LayerSums(units, self.seen[path].channels_last))

    def _recorded(self, paths: Iterable[str], x: Tensor, at: int, one: int) -> Recording:
        with record(self.twin, [glob.escape(path) for path in paths], device=None) as recording:
            self._forward(x, at, one)
        return recording

    def _forward(self, x: Tensor, at: int, one: int) -> None:
        """One forward with the noise of batch ``at`` in pass ``one``; what encoders draw is the same in every pass."""
        for path, counter in self.counters.items():
            shift = one * _APART if isinstance(counter, AnalogChain) else 0
            counter.draw.fill_((self.starts[path] + (at if counter.advances else 0) + shift) % (1 << 32))
        options = {} if self.stream is None else {"stream": self.stream._replace(draw=self.stream.draw + at)}
        forked = [self.place] if self.place.type == "cuda" else []
        with torch.random.fork_rng(devices=forked):
            answer("probe", self.twin, x, **options)

    @contextlib.contextmanager
    def _without_noise(self) -> Iterator[None]:
        chains = [counter for counter in self.counters.values() if isinstance(counter, AnalogChain)]
        before = [chain.modes for chain in chains]
        for chain in chains:
            chain.modes = {slot: "ideal" if mode == "ideal" else self.against for slot, mode in chain.modes.items()}
        try:
            yield
        finally:
            for chain, modes in zip(chains, before, strict=True):
                chain.modes = modes

    def _results(self) -> Iterator[LayerProbe]:
        for path in self.rows:
            branches = tuple(self.seen[path].branches)
            branch = next((sums for (name, _), sums in self.sums.items() if branches and name == branches[-1]), None)
            for (name, _), sums in self.sums.items():
                if name == path and sums.moments is not None and sums.covariance is not None:
                    yield self._result(path, sums, sums.moments, sums.covariance, branches, branch)

    def _result(
        self, path: str, sums: LayerSums, found: Moments, directions: Covariance, branches: tuple[str, ...], branch: LayerSums | None
    ) -> LayerProbe:
        module = self.modules[path]
        count = found.n * len(found.mean)
        spikes, v = is_neurons(module) and not isinstance(module, LI), sums.membrane
        return LayerProbe(
            path,
            type(module).__name__,
            sums.units,
            len(found.mean),
            mean_square=float(found.mean.square().mean()),
            variance=float(found.variance.mean()),
            branches=branches,
            branch_variance=None if branch is None or branch.moments is None else float(branch.moments.variance.mean()),
            signal=None if sums.quiet is None else float(sums.quiet.variance.mean()),
            noise=sums.noise / sums.differences if sums.differences else None,
            kurtosis=float(found.pooled().excess_kurtosis),
            dormant=sums.dormant(self.tau),
            dead=sums.dead(),
            effective_rank=directions.effective_rank,
            at_bounds=None if self.bounds[path] is None else sums.at_bounds / count,
            stages=self.stages[path].found() if path in self.stages else (),
            rate=float(found.mean.mean()) if spikes else None,
            membrane_mean=None if v is None else float(v.mean),
            membrane_std=None if v is None else float(v.variance.sqrt()),
        )
