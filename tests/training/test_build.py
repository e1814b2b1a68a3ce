"""From names to models, seeds to numbers, files to recipes."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import neurosim as ns
from neurosim.errors import ConfigError
from neurosim.training.build import check_model, seeded, threads
from neurosim.training.folder import RunFolder
from neurosim.training.recipe import load_recipe, recipe_file, recipes

Make = Callable[..., dict[str, Any]]

OWN = """
import neurosim as ns

def main(config, run):
    return {"name": config.name, "folder": run.path.name, "digits": len(ns.load_dataset("digits").classes)}
"""

CLASSES = """
from __future__ import annotations
import pickle
from dataclasses import dataclass

@dataclass
class Settings:
    lr: float = 0.5

def main(config, run):
    return {"lr": pickle.loads(pickle.dumps(Settings())).lr}
"""


def test_a_seed_gives_its_numbers_and_leaves_the_generator_as_it_was() -> None:
    before = torch.get_rng_state()
    with seeded(3):
        first = torch.rand(4)
    with seeded(3):
        again = torch.rand(4)
    with seeded(4):
        other = torch.rand(4)
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("seed", [0, 2**63 - 1])
def test_every_seed_of_a_configuration_works(seed: int) -> None:
    with seeded(seed):
        assert torch.rand(1).isfinite().all()


def test_threads_come_back_after_an_error() -> None:
    before = torch.get_num_threads()
    inside = []

    def fail() -> None:
        with threads(before + 1):
            inside.append(torch.get_num_threads())
            raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        fail()
    assert inside == [before + 1]
    assert torch.get_num_threads() == before


def test_no_number_of_threads_leaves_them_alone() -> None:
    before = torch.get_num_threads()
    with threads(None):
        assert torch.get_num_threads() == before


def test_a_fitting_model_is_left_as_it_was() -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(4, 3), nn.BatchNorm1d(3))
    mean = model[2].get_buffer("running_mean").clone()
    check_model(model, torch.ones(2, 1, 2, 2), classes=3)
    assert model.training
    assert torch.equal(model[2].get_buffer("running_mean"), mean)


def test_a_model_that_gives_no_tensor_is_refused() -> None:
    class Pair(nn.Module):
        def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            return x, x

    with pytest.raises(ConfigError, match="must give 3 outputs a sample, one per class of the data, got tuple"):
        check_model(Pair(), torch.ones(2, 3), classes=3)


def test_the_shipped_recipes_are_found_by_name() -> None:
    assert "classify" in recipes()
    for name in recipes():
        recipe = load_recipe(name)
        assert recipe.shipped
        assert recipe.name == name
        assert "neurosim" in recipe_file(name).read_text()


def test_the_shipped_recipe_reads_like_a_page() -> None:
    lines = recipe_file("classify").read_text().splitlines()
    assert 40 < len(lines) <= 120


def test_an_unknown_recipe_is_refused_with_a_suggestion() -> None:
    with pytest.raises(ConfigError, match="no recipe is named 'clasify'; did you mean 'classify'"):
        load_recipe("clasify")


def test_a_recipe_of_the_user_is_run_as_it_is(make_digital: Make, tmp_path: Path) -> None:
    (tmp_path / "my_recipe.py").write_text(OWN)
    run = ns.train(make_digital(), recipe=tmp_path / "my_recipe.py")
    assert run.metrics == {"name": "small", "folder": run.path.name, "digits": 10}


def test_a_copy_of_the_shipped_recipe_does_the_same(make_digital: Make, tmp_path: Path) -> None:
    copy = tmp_path / "copied.py"
    copy.write_bytes(recipe_file("classify").read_bytes())
    config = make_digital(train={"epochs": 1})
    assert ns.train(config, recipe=copy).metrics == ns.train(config).metrics


def test_a_run_of_the_users_recipe_is_resumed_only_when_it_is_named_again(make_digital: Make, tmp_path: Path) -> None:
    (tmp_path / "my_recipe.py").write_text(OWN)
    run = ns.train(make_digital(), recipe=tmp_path / "my_recipe.py")
    with pytest.raises(ConfigError, match=r"resume: recipe: must be '.*my_recipe\.py' as when the run was started, got 'classify'"):
        ns.train(resume=run.path)
    assert ns.train(resume=run.path, recipe=tmp_path / "my_recipe.py").metrics == run.metrics
    assert RunFolder(run.path).resume_command() == f"neurosim train --resume {run.path} --recipe {tmp_path / 'my_recipe.py'}"


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("none.py", None, "cannot be read"),
        ("empty.py", "x = 1", r"must define main\(config, run\)"),
        ("recipe.txt", "def main(config, run): ...", r"must be a Python file \(\.py\)"),
    ],
)
def test_a_file_that_is_no_recipe_is_refused(tmp_path: Path, name: str, text: str | None, message: str) -> None:
    if text is not None:
        (tmp_path / name).write_text(text)
    with pytest.raises(ConfigError, match=message):
        load_recipe("classify", tmp_path / name)


def test_a_recipe_takes_no_name_that_a_user_may_import() -> None:
    before = set(sys.modules)
    load_recipe("classify")
    assert {name for name in set(sys.modules) - before if not name.startswith("neurosim")} == set()


def test_a_recipe_may_define_classes(tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text(CLASSES)
    assert load_recipe("classify", tmp_path / "own.py").main(*[None] * 2) == {"lr": 0.5}  # type: ignore[arg-type]  # it uses neither


def test_importing_the_training_parts_imports_no_tensorboard() -> None:
    code = "import sys, neurosim.training; sys.exit('tensorboard' in sys.modules or 'matplotlib' in sys.modules)"
    root = Path(__file__).resolve().parents[2]
    assert subprocess.run([sys.executable, "-c", code], cwd=root, check=False).returncode == 0
