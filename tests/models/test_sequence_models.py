"""Models that read frames or rows, and the recipes and configs that train them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

import neurosim as ns
from neurosim.models import AssemblyClassifier, FrameClassifier, assembly_rnn, delta_mlp
from neurosim.nn import DeltaActivation, delta_inference
from neurosim.training import rebuild

CONFIGS = {
    "delta/moving_digits": ["data.frames=4", "model.sizes=[144,16,10]"],
    "disinhibition/digits_mlp": ["model.sizes=[64,16,10]", "model.settle=0.1"],
    "assembly/digits_rows": ["model.areas=2", "model.units=8"],
}


def trained(config: str, folder: Path, *overrides: str) -> ns.Run:
    return ns.train(f"pkg:{config}.yaml", overrides=[f"log.dir={folder}", "train.device=cpu", "data.batch_size=128", *overrides])


@pytest.mark.parametrize("config", CONFIGS)
def test_every_config_runs_from_its_file_to_a_better_than_random_model(config: str, tmp_path: Path) -> None:
    run = trained(config, tmp_path, "train.epochs=4", *CONFIGS[config])
    assert run.metrics["test_accuracy"] > 0.2  # of ten classes; a guesser passes 0.2 of 360 samples with probability 10⁻⁸
    shape = (4, 12, 12) if config == "delta/moving_digits" else (1, 8, 8)
    assert run.model(torch.rand(3, *shape)).shape == (3, 10)


def test_the_delta_recipe_reports_what_delta_inference_computes(tmp_path: Path) -> None:
    run = trained("delta/moving_digits", tmp_path, "train.epochs=1", *CONFIGS["delta/moving_digits"])
    metrics = run.metrics
    assert metrics["test_dense_operations"] == 4 * (144 * 16 + 16 * 10)
    assert metrics["test_operations_share"] == pytest.approx(metrics["test_operations"] / metrics["test_dense_operations"])
    assert 0 < metrics["test_operations_share"] < 1
    model = run.model
    assert isinstance(model, FrameClassifier)
    data = ns.datasets.moving_digits(frames=4)
    images, labels = next(ns.datasets.batches(data.test, batch_size=360))
    seen = delta_inference(model.body).trace(images.movedim(1, 0))
    assert metrics["test_operations"] == pytest.approx(float(seen.operations.sum()) / 360)
    assert metrics["test_accuracy"] == pytest.approx(float((seen.y.mean(0).argmax(1) == labels).float().mean()))


def test_the_sparsity_loss_takes_part_in_the_training(tmp_path: Path) -> None:
    """By the authors' gradient it can only enlarge the steps."""
    steps = []
    for rate in (0.0, 3.0):
        run = trained("delta/moving_digits", tmp_path, "train.epochs=2", *CONFIGS["delta/moving_digits"], f"model.sparsity_rate={rate}")
        steps.append([float(layer.step.detach()) for layer in run.model.modules() if isinstance(layer, DeltaActivation)])
    assert all(with_loss > 1.02 * without for without, with_loss in zip(*steps, strict=True))


def test_the_local_recipe_takes_the_step_that_the_rule_gives(tmp_path: Path) -> None:
    """One step of plain gradient descent: the weights move against what local_update returned, exactly."""
    small = ["data.batch_size=1221", "data.validation=0.15", "train.epochs=1", "train.optimizer={kind: sgd, lr: 0.5}"]
    overrides = [*CONFIGS["disinhibition/digits_mlp"], *small]
    run = trained("disinhibition/digits_mlp", tmp_path, *overrides)
    config = ns.load_config(run.path / "resolved.yaml")
    first = rebuild(config)
    assert isinstance(first, ns.nn.DisinhibitoryNetwork)
    train, _ = ns.datasets.split_validation(ns.load_dataset("digits").train, 0.15, seed=config.seed)
    images, labels = next(ns.datasets.batches(train, batch_size=len(train.labels)))
    assert len(labels) == 1221
    learned = first.local_update(images, labels)
    after = dict(run.model.named_parameters())
    for name, parameter in first.named_parameters():
        step = (parameter - after[name]).detach() * 2  # one step over rate 0.5 and a cosine that begins at 1
        assert torch.allclose(step, learned.gradients[name], atol=1e-5), name


@pytest.mark.parametrize(
    ("recipe", "change", "message"),
    [
        ("delta", ["model={kind: mlp, sizes: [144, 10]}"], "model.kind: must be a network over frames for the recipe delta"),
        ("delta", ["hardware={profile: photonic_avnn}"], "hardware: must be null for the recipe delta"),
        ("local_learning", ["model={kind: mlp, sizes: [144, 10]}"], "model.kind: must be disinhibitory_mlp for the recipe local_learning"),
        ("local_learning", ["hardware={profile: photonic_avnn}"], "hardware: must be null for the recipe local_learning"),
    ],
)
def test_recipes_refuse_what_they_cannot_train(recipe: str, change: list[str], message: str, tmp_path: Path) -> None:
    with pytest.raises(ns.ConfigError, match=message):
        trained("delta/moving_digits", tmp_path, f"recipe={recipe}", "data.frames=2", *change)


def test_a_delta_mlp_is_its_layers_on_every_frame_averaged() -> None:
    model = delta_mlp([12, 5, 3], step=0.2, activation="tanh", sparsity_rate=0.5)
    layers: dict[str, Any] = dict(model.get_submodule("body").named_children())
    x = torch.rand(4, 6, 3, 4)
    wanted = []
    for frame in x.unbind(1):
        hidden = layers["fc1"](torch.round(frame.flatten(1) / layers["delta0"].step) * layers["delta0"].step)
        wanted.append(layers["fc2"](torch.round(torch.tanh(hidden) / layers["delta1"].step) * layers["delta1"].step))
    assert torch.allclose(model(x), torch.stack(wanted).mean(0), atol=1e-6)
    weights = [(layer.rate, layer.fan_out) for layer in layers.values() if isinstance(layer, DeltaActivation)]
    assert weights == [(0.5, 5), (0.5, 3)]


def test_an_assembly_reads_images_row_by_row() -> None:
    model = assembly_rnn(inputs=4, classes=3, areas=2, units=3)
    assert isinstance(model, AssemblyClassifier)
    x = torch.rand(5, 1, 6, 4)
    rows = torch.stack([model.read(x[:, 0, row]) for row in range(6)])
    # rows are read in one product, or alone
    torch.testing.assert_close(model(x), model.classify(model.assembly(rows)[-1]), rtol=0, atol=1e-6)


def test_an_assembly_that_cannot_cut_its_samples_says_so() -> None:
    with pytest.raises(ns.ConfigError, match="samples must have a multiple of 5 values, inputs, got 64"):
        assembly_rnn(inputs=5, classes=3)(torch.rand(2, 1, 8, 8))


def test_recurrent_weights_are_a_function_of_their_seed() -> None:
    one, same, other = (
        dict(assembly_rnn(inputs=4, classes=3, recurrent_seed=seed).named_parameters())["assembly.raw_areas"] for seed in (1, 1, 2)
    )
    assert torch.equal(one, same)
    assert not torch.equal(one, other)
