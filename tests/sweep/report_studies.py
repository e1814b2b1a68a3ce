"""Studies made from a formula instead of a simulation, for the tests of the report."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from neurosim.sweep.results import FAILED, NON_FINITE, Baseline, LayerInfo, Results, Scope, TrialRow, columns

SAMPLES = 360

Answer = Callable[[dict[str, Any], str, int, int], float]  #: settings, scope, layer, chip -> share of samples the hardware gets wrong


def loss_of_accuracy(values: dict[str, Any], scope: str, layer: int, chip: int) -> float:
    """More leakage and less precision cost more, later layers cost less, chips differ a little."""
    whole = 0.25 * float(values.get("leakage", 0.2)) ** 2 + 0.3 / float(values.get("precision", 16))
    part = {"all": 1.0, "each": 0.5 / (layer + 1 or 1), "all_but_one": 1 - 0.3 / (layer + 1 or 1)}[scope]
    return whole * part * (0.8 + 0.02 * (chip * 7 % 25))


def study(
    axes: Mapping[str, Sequence[Any]] | None = None,
    *,
    chips: int = 25,
    reads: int = 1,
    layers: Sequence[str] = ("fc1", "fc2", "head"),
    scopes: Sequence[Scope] = ("all", "each", "all_but_one"),
    nominal: Mapping[str, Any] | None = None,
    cross: bool = False,
    layers_at: int | None = None,
    metric: str = "accuracy",
    accept: Mapping[str, float] | None = None,
    answer: Answer = loss_of_accuracy,
    fail: Callable[[TrialRow], str] = lambda row: "",
    drop_row: Callable[[TrialRow], bool] = lambda row: False,
    samples: int = SAMPLES,
    **meta: Any,
) -> Results:
    """A study over a grid (or a cross) of axes, layer by layer at its nominal point.

    ``fail`` gives the error of a trial, ``drop_row`` says which trials were never stored.
    """
    axes = {"leakage": [0.0, 0.1, 0.2, 0.35, 0.5]} if axes is None else axes
    nominal = {axis: values[len(values) // 2] for axis, values in axes.items()} if nominal is None else nominal
    grid = [dict(zip(axes, values, strict=True)) for values in itertools.product(*axes.values())]
    points = [p for p in grid if sum(p[a] != nominal[a] for a in axes) <= 1] if cross else grid
    nominal_point = points.index(dict(nominal)) if dict(nominal) in points else None
    hits = np.ones(samples, dtype=np.uint8)
    hits[: max(1, samples // 40)] = 0
    baseline = Baseline(float(hits.mean()), 0.1, int(hits.sum()), samples, np.packbits(hits))
    rows = []
    looked_at = layers_at if layers_at is not None else nominal_point or 0
    cells = [(point, scope) for point in range(len(points)) for scope in scopes if scope == "all" or point == looked_at]
    for point, scope in cells:
        for layer, chip, read in itertools.product([-1] if scope == "all" else range(len(layers)), range(chips), range(reads)):
            row = TrialRow(point, scope, layer, 100 + chip, read)
            if not drop_row(row):
                rows.append(_trial(row, points[point], hits, answer, metric, fail(row)))
    trials, bits = columns(rows, (samples + 7) // 8)
    facts = {
        "name": "digits_mlp",
        "created_utc": "2026-01-02T03:04:05Z",
        "wall_s": 83.2,
        "neurosim_version": "0.1.0",
        "git_commit": "0123456789abcdef0123456789abcdef01234567",
        "versions": {"python": "3.11.9", "torch": "2.13.0", "numpy": "2.4.6"},
        "platform": "Linux-6.1-x86_64",
        "device": "cpu",
        "threads": 1,
        "batch_size": 256,
        "seed": 17,
        "metric": metric,
        "higher_is_better": metric != "loss",
        "n_samples": samples,
        "data": "digits, test split",
        "profile": {"name": "photonic_avnn", "summary": "Photonic multiplier with Gaussian noise", "sha256": "ab" * 32},
        "effects": {
            "simulated": ["input quantisation", "weight noise (per chip)", "output noise (per read)"],
            "off": ["bias noise"],
            "not_modelled": ["drift", "thermal crosstalk", "laser intensity noise"],
        },
        "device_errors": True,
        "config_yaml": "version: 1\nname: digits_mlp\ndata: {kind: digits}\n",
        "config_sha256": "cd" * 32,
        "checkpoint": {"path": "runs/digits_mlp/best/weights.safetensors", "sha256": "ef" * 32},
        "command": "neurosim sensitivity configs/analogvnn/digits_mlp.yaml",
        "rerun": "neurosim sensitivity configs/analogvnn/digits_mlp.yaml --chip {chip}",  # noqa: RUF027  # the report fills it in
        "accept": {"drop_at_most": 0.05, "yield_at_least": 0.8} if accept is None else dict(accept),
        "nominal": dict(nominal),
        "nominal_point": nominal_point,
        "packages": "numpy==2.4.6\ntorch==2.13.0\n",
        "chips": chips,
        "reads": reads,
        "planned": reads * chips * sum(1 if scope == "all" else len(layers) for _, scope in cells),
    }
    return Results(
        meta={**facts, **meta},
        layers=[LayerInfo(name, "AnalogLinear", 64, 32) for name in layers],
        axes={axis: [p[axis] for p in points] for axis in axes},
        keys={axis: {f"*.noise.{axis}": [p[axis] for p in points]} for axis in axes},
        trials=trials,
        bits=bits if metric == "accuracy" else bits[:, :0],
        baseline=baseline if metric == "accuracy" else baseline._replace(value=0.1, bits=baseline.bits[:0]),
    )


def _trial(row: TrialRow, values: dict[str, Any], hits: np.ndarray, answer: Answer, metric: str, error: str) -> TrialRow:
    if error:
        return row._replace(status=NON_FINITE if error == "nan" else FAILED, error="" if error == "nan" else error, n_total=len(hits))
    worse = answer(values, row.scope, row.layer, row.chip - 100)
    mine = hits.copy()
    mine[len(hits) - round(worse * len(hits)) :] = 0
    value = float(mine.mean()) if metric == "accuracy" else 0.1 + worse
    return row._replace(
        value=value, loss=0.1 + worse, n_correct=int(mine.sum()), n_total=len(hits), wall_s=0.25, bits=np.packbits(mine).tobytes()
    )
