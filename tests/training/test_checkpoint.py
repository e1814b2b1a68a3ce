"""Checkpoint files: whole or not there, checked when read."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest
import torch

from neurosim.errors import CheckpointError
from neurosim.training.checkpoint import FORMAT, Checkpoints, digest, load_checkpoint, restore_rng_state, rng_state, save_checkpoint


def content() -> dict[str, Any]:
    """One of everything a checkpoint may hold."""
    model = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.BatchNorm1d(2))
    optimizer = torch.optim.Adam(model.parameters())
    model(torch.ones(4, 3)).square().sum().backward()
    optimizer.step()
    return {
        "step": 7,
        "best": None,
        "loss": 0.1 + 0.2,
        "name": "x",
        "model": model.state_dict(),
        "optimizer": optimizer.state_dict(),
        "rng": rng_state(torch.device("cpu")),
        "draws": {"fc1": 3},
        "half": torch.ones(2, dtype=torch.bfloat16),
        "flag": torch.tensor(True),
    }


def test_a_checkpoint_comes_back_as_it_was(tmp_path: Path) -> None:
    before = content()
    save_checkpoint(tmp_path / "a.pt", before)
    after = load_checkpoint(tmp_path / "a.pt")
    assert after.keys() == before.keys()
    assert digest(after) == digest(before)


def test_a_checkpoint_is_an_ordinary_file_of_weights_only(tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "a.pt", content())
    raw = torch.load(tmp_path / "a.pt", weights_only=True)
    assert raw["step"] == 7
    assert set(raw["model"]) == set(content()["model"])


@pytest.mark.parametrize("where", [0.02, 0.3, 0.5, 0.8, 0.99])
def test_a_file_cut_short_is_refused(tmp_path: Path, where: float) -> None:
    path = tmp_path / "a.pt"
    save_checkpoint(path, content())
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * where)])
    with pytest.raises(CheckpointError, match="cannot be read"):
        load_checkpoint(path)


def test_one_flipped_bit_of_a_weight_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "a.pt"
    weight = torch.linspace(1, 2, 257)
    save_checkpoint(path, {"weight": weight})
    data = bytearray(path.read_bytes())
    at = bytes(data).index(weight.numpy().tobytes())
    data[at + 500] ^= 1
    path.write_bytes(data)
    with pytest.raises(CheckpointError, match="does not match its digest"):
        load_checkpoint(path)


def test_a_pickle_that_would_run_code_is_refused(tmp_path: Path) -> None:
    torch.save({"format": 1, "sha256": "", "model": torch.nn.Linear(1, 1)}, tmp_path / "a.pt")
    with pytest.raises(CheckpointError, match="cannot be read"):
        load_checkpoint(tmp_path / "a.pt")


def test_a_file_of_something_else_is_refused(tmp_path: Path) -> None:
    torch.save({"weight": torch.ones(1)}, tmp_path / "a.pt")
    with pytest.raises(CheckpointError, match="is something else"):
        load_checkpoint(tmp_path / "a.pt")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"b\.pt: there is no such checkpoint"):
        load_checkpoint(tmp_path / "b.pt")


def test_the_last_few_are_kept_in_order_of_steps(tmp_path: Path) -> None:
    store = Checkpoints(tmp_path / "checkpoints", keep=2)
    for step in (5, 90, 100, 123456789):
        store.save(step, {"step": step})
    assert [path.name for path in store.paths()] == ["step-00000100.pt", "step-123456789.pt"]


def test_the_newest_checkpoint_is_the_one_of_the_latest_step(tmp_path: Path) -> None:
    store = Checkpoints(tmp_path, keep=3)
    for step in (1, 10, 9):
        store.save(step, {"step": step})
    assert store.newest() == {"step": 10}


def test_a_damaged_newest_checkpoint_falls_back_to_the_one_before_and_says_so(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    store = Checkpoints(tmp_path, keep=2)
    store.save(1, {"step": 1})
    store.save(2, {"step": 2}).write_bytes(b"PK\x03\x04 half a file")
    with caplog.at_level(logging.WARNING):
        assert store.newest() == {"step": 1}
    assert "step-00000002.pt" in caplog.text
    assert "using the one before" in caplog.text
    assert [path.name for path in store.paths()] == ["step-00000001.pt"]


def test_a_run_whose_checkpoints_are_all_damaged_is_refused(tmp_path: Path) -> None:
    store = Checkpoints(tmp_path, keep=2)
    store.save(1, {"step": 1}).write_bytes(b"")
    with pytest.raises(CheckpointError, match="all 1 checkpoints are damaged"):
        store.newest()


def test_a_run_whose_checkpoints_are_all_damaged_is_refused_every_time(tmp_path: Path) -> None:
    store = Checkpoints(tmp_path, keep=2)
    for step in (1, 2):
        store.save(step, {"step": step}).write_bytes(b"")
    for _ in range(3):
        with pytest.raises(CheckpointError, match="all 2 checkpoints are damaged"):
            store.newest()
    assert len(store.paths()) == 2


def test_a_run_that_has_only_checkpoints_put_aside_is_refused(tmp_path: Path) -> None:
    (tmp_path / "step-00000001.pt.damaged").write_bytes(b"")
    with pytest.raises(CheckpointError, match="all 1 checkpoints are damaged"):
        Checkpoints(tmp_path, keep=2).newest()


def test_a_checkpoint_of_another_format_is_refused_every_time_and_stays(tmp_path: Path) -> None:
    store = Checkpoints(tmp_path, keep=2)
    store.save(1, {"step": 1})
    torch.save({"step": 2, "format": FORMAT + 1, "sha256": ""}, tmp_path / "step-00000002.pt")
    for _ in range(2):
        with pytest.raises(CheckpointError, match="written by another version"):
            store.newest()
    assert len(store.paths()) == 2


@pytest.mark.parametrize(
    ("raised", "expected"),
    [
        (OSError(5, "Input/output error"), OSError),
        (PermissionError(13, "Permission denied"), PermissionError),
        (MemoryError(), MemoryError),
        (RuntimeError("[enforce fail at alloc_cpu.cpp:124] . DefaultCPUAllocator: can't allocate memory"), MemoryError),
    ],
)
def test_a_checkpoint_that_cannot_be_read_just_now_is_taken_when_it_can(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, raised: Exception, expected: type[Exception]
) -> None:
    def failing(*_: object, **__: object) -> None:
        raise raised

    store = Checkpoints(tmp_path, keep=2)
    for step in (1, 2):
        store.save(step, {"step": step})
    with monkeypatch.context() as patch:
        patch.setattr(torch, "load", failing)
        with pytest.raises(expected):
            store.newest()
    assert store.newest() == {"step": 2}


def test_no_checkpoint_is_no_error(tmp_path: Path) -> None:
    assert Checkpoints(tmp_path / "none", keep=1).newest() is None


def test_a_save_that_fails_leaves_the_older_file(tmp_path: Path) -> None:
    store = Checkpoints(tmp_path, keep=1)
    store.save(1, {"step": 1})
    with pytest.raises(AttributeError):  # a local function cannot be stored
        store.save(1, {"step": lambda: None})
    assert store.newest() == {"step": 1}
    assert [path.name for path in tmp_path.iterdir()] == ["step-00000001.pt"]


def test_the_generator_goes_on_where_it_was() -> None:
    with torch.random.fork_rng(devices=[]):
        state = rng_state(torch.device("cpu"))
        first = torch.rand(5)
        restore_rng_state(state)
        assert torch.equal(torch.rand(5), first)


def test_a_digest_tells_apart_what_looks_alike() -> None:
    alike: list[object] = [
        1,
        1.0,
        "1",
        True,
        [1],
        [[1]],
        {1: 1},
        torch.ones(1),
        torch.ones(1, dtype=torch.int64),
        torch.ones(1, 1),
        torch.ones(2, 1),
        torch.ones(1, 2),
    ]
    assert len({digest(value) for value in alike}) == len(alike)
