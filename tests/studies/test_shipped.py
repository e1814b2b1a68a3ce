"""The studies that come with the package can be run."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest

from neurosim.assets import packaged_config
from neurosim.config.plan_study import plan_study
from neurosim.studies.rehearsal import rehearse_all
from neurosim.studies.store import make_task

ROOT = packaged_config("pkg:studies/digits.yaml").parents[1]
STUDIES = [file.relative_to(ROOT).as_posix() for file in sorted(ROOT.rglob("*.yaml")) if "\nfactors:" in file.read_text(encoding="utf-8")]
ON_MNIST = [name for name in STUDIES if name.startswith("studies/") and "mnist5k.h5" in (ROOT / name).read_text(encoding="utf-8")]


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file of the shape of the MNIST digits, with a few images of noise."""
    path = tmp_path_factory.mktemp("data") / "mnist5k.h5"
    draw = np.random.default_rng(0)
    with h5py.File(path, "w") as file:
        for split, samples in (("train", 40), ("test", 20)):
            group = file.create_group(split)
            group["images"] = draw.integers(0, 256, (samples, 28, 28), dtype=np.uint8)
            group["labels"] = np.arange(samples) % 10
    return path


@pytest.mark.parametrize("name", STUDIES)
def test_every_level_of_a_shipped_study_is_a_run_that_holds(name: str, images: Path, tmp_path: Path) -> None:
    """One factor after the other, the others at their first levels; those of the first factor of studies on MNIST take a step as well."""
    levels = plan_study(f"pkg:{name}").factors  # those of a study that is extended included
    seen = set()
    for at, factor in enumerate(levels):
        only = {other: names[1 if at else 0 :] if other == factor else names[:1] for other, names in levels.items()}
        plan = plan_study(f"pkg:{name}", [f"data.path={images}"] if name in ON_MNIST else [], only=only, seeds=1)
        seen |= {one for run in plan.runs for one in run.levels.items()}
        if name in ON_MNIST and at == 0:
            assert rehearse_all(plan, {at: make_task(tmp_path, run) for at, run in enumerate(plan.runs)}, steps=1)
    assert seen == {(factor, level) for factor, names in levels.items() for level in names}
