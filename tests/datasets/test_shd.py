"""The Heidelberg spiking data sets: read and counted right, or refused with the dataset and what is there."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import neurosim as ns
from neurosim.datasets import batches, bin_events, load_dataset
from tests.datasets.shd_files import KEYS, Sample, changed, folder, write

GRID: dict[str, Any] = {"time_steps": 10, "dt": 0.125}  # a power of two: bins begin where they say, to the last bit


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return folder(tmp_path, train=12, test=6)


def one_sample(place: Path, *samples: Sample) -> Path:
    """A folder whose two files hold these samples."""
    for name in ("train", "test"):
        write(place / f"shd_{name}.h5", samples, [0] * len(samples))
    return place


def load(path: Path, **arguments: Any) -> ns.datasets.Dataset:
    return load_dataset("shd", path=path, **{**GRID, **arguments})


# --- counting --------------------------------------------------------------------------------------------------------------------------


@given(
    events=st.lists(st.lists(st.tuples(st.floats(0, 3, width=16), st.integers(0, 11)), max_size=20), min_size=1, max_size=4),
    steps=st.integers(1, 6),
    dt=st.floats(1e-3, 1.0),
    pool=st.sampled_from([1, 2, 3, 4, 6, 12]),
)
def test_events_are_counted_one_by_one(events: list[list[tuple[float, int]]], steps: int, dt: float, pool: int) -> None:
    flat = [event for sample in events for event in sample]
    found = bin_events(
        np.array([time for time, _ in flat], np.float16),
        np.array([unit for _, unit in flat], np.uint16),
        np.array([len(sample) for sample in events]),
        time_steps=steps,
        dt=dt,
        inputs=12,
        pool=pool,
    )
    wanted = np.zeros((len(events), steps, 12 // pool), np.int64)
    for at, sample in enumerate(events):
        for time, unit in sample:
            if time / dt < steps:
                wanted[at, int(time / dt), unit // pool] += 1
    np.testing.assert_array_equal(found, wanted)


def test_float16_times_may_be_cut_into_microseconds() -> None:
    """In float16 itself, 1 s / 10 µs would be infinite."""
    found = bin_events(np.array([1.0], np.float16), np.array([0]), np.array([1]), time_steps=100_001, dt=1e-5, inputs=1)
    assert found.nonzero()[1].tolist() in ([99_999], [100_000])


def test_every_event_lies_where_its_time_and_unit_say(tmp_path: Path) -> None:
    times, units = [0.0, 0.125, 0.124, 1.2, 0.125, 0.125], [0, 699, 5, 350, 699, 698]  # in no order
    images = load(one_sample(tmp_path, (times, units), ([], []))).train.images
    assert images.dtype == torch.int8
    assert images.shape == (2, 10, 700)
    assert {tuple(index): int(images[tuple(index)]) for index in images.nonzero().tolist()} == {
        **{(0, 0, 0): 1, (0, 0, 5): 1, (0, 1, 699): 2, (0, 1, 698): 1, (0, 9, 350): 1},
    }


def test_an_event_at_the_end_is_left_out_and_the_one_before_it_is_not(tmp_path: Path) -> None:
    images = load(one_sample(tmp_path, ([1.25, 1.249], [3, 4]))).train.images
    assert images.nonzero().tolist() == [[0, 9, 4]]


def test_pooled_units_share_an_input_and_no_event_is_lost(place: Path) -> None:
    whole, pooled = load(place).train.images, load(place, pool=5).train.images
    assert pooled.shape == (12, 10, 140)
    assert torch.equal(whole.reshape(12, 10, 140, 5).sum(-1, dtype=torch.int8), pooled)
    assert int(whole.sum()) == 12 * 60


def test_binary_events_say_only_whether(place: Path) -> None:
    count, binary = load(place, pool=100).train.images, load(place, pool=100, events="binary").train.images
    assert int(count.max()) > 1
    assert torch.equal(binary, count.clamp(max=1))


def test_more_events_than_can_be_counted_are_refused_or_binary(tmp_path: Path) -> None:
    path = one_sample(tmp_path, ([], []), ([0.3] * 127 + [0.6] * 128, [7] * 255))
    with pytest.raises(ns.DataError, match=r"sample 1 has 128 events in step 4 at input 7, counts go up to 127; .* events='binary'"):
        load(path)
    assert int(load(path, events="binary").train.images.sum()) == 2
    assert load(path, time_steps=3).train.images[1, 2, 7] == 127


def test_batches_hold_the_counts_as_they_are(tmp_path: Path) -> None:
    data = load(one_sample(tmp_path, ([0.2, 0.2, 0.2], [1, 1, 2])))
    x, _ = next(batches(data.train, 1))
    assert x.dtype == torch.float32
    assert x[0, 1, :4].tolist() == [0, 2, 1, 0]


def test_the_grid_that_is_given_by_default_holds_the_longest_sample(tmp_path: Path) -> None:
    images = load_dataset("shd", path=one_sample(tmp_path, ([1.37], [0]))).train.images
    assert images.shape == (1, 100, 700)
    assert images.nonzero().tolist() == [[0, int(float(np.float16(1.37)) / 14e-3), 0]]


# --- files -----------------------------------------------------------------------------------------------------------------------------


def test_labels_and_names_come_from_the_files(place: Path) -> None:
    data = load(place)
    assert (data.name, data.classes) == ("shd", KEYS)
    assert data.train.labels.tolist() == [0, 1, 2] * 4
    assert len(data.test.labels) == 6
    assert "Cramer" in data.source


def test_a_file_may_hold_the_samples_alone(place: Path) -> None:
    named = load(place)
    for name in ("train", "test"):
        changed(place / f"shd_{name}.h5", lambda file: file.pop("extra"))
    bare = load(place)
    assert bare.classes == tuple(str(at) for at in range(20))
    assert torch.equal(bare.train.images, named.train.images)


def test_packed_files_are_read_as_they_are(place: Path) -> None:
    plain = load(place)
    for name in ("train", "test"):
        file = place / f"shd_{name}.h5"
        (place / f"{file.name}.gz").write_bytes(gzip.compress(file.read_bytes(), compresslevel=1))
        file.unlink()
    assert load(place).fingerprint == plain.fingerprint


def test_the_same_events_have_the_same_fingerprint_and_another_grid_has_another(place: Path) -> None:
    assert load(place).fingerprint == load(place).fingerprint
    assert load(place).fingerprint != load(place, dt=0.1).fingerprint


def test_more_samples_than_are_counted_at_once_stay_in_order(tmp_path: Path) -> None:
    samples: list[Sample] = [([0.05] * (at % 5), [at] * (at % 5)) for at in range(50)]
    images = load(one_sample(tmp_path, *samples)).train.images
    assert images.sum((1, 2)).tolist() == [at % 5 for at in range(50)]
    assert [int(images[at, 0, at]) for at in range(50)] == [at % 5 for at in range(50)]


def test_speakers_may_be_held_out_for_validation(place: Path) -> None:
    """Sample i of the file is of speaker i mod 4."""
    whole, data = load(place), load(place, validation_speakers=[1, 3])
    assert data.validation is not None
    assert torch.equal(data.validation.images, whole.train.images[1::2])
    assert torch.equal(data.train.labels, whole.train.labels[0::2])
    assert torch.equal(data.test.images, whole.test.images)


@pytest.mark.parametrize("speakers", [[4], [0, 1, 2, 3]], ids=["unknown", "all"])
def test_speakers_must_be_there_and_leave_some_to_train_on(place: Path, speakers: list[int]) -> None:
    with pytest.raises(ns.DataError, match=r"validation_speakers must be some, not all, of its speakers \[0, 1, 2, 3\], got"):
        load(place, validation_speakers=speakers)


def test_speech_commands_have_a_validation_file(tmp_path: Path) -> None:
    for at, name in enumerate(("train", "valid", "test")):
        write(tmp_path / f"ssc_{name}.h5", [([0.1] * (at + 1), [10 * at] * (at + 1))], [0])
    data = load_dataset("ssc", path=tmp_path, **GRID)
    assert data.shape == (10, 140)
    assert {name: split.images.nonzero().tolist() for name, split in data.splits.items()} == {
        "train": [[0, 0, 0]],
        "validation": [[0, 0, 2]],
        "test": [[0, 0, 4]],
    }
    assert int(data.test.images.max()) == 3


def replace(name: str, value: Any) -> Callable[[h5py.File], None]:
    def change(file: h5py.File) -> None:
        del file[name]
        file[name] = value

    return change


def ragged(name: str, at: int, value: Any) -> Callable[[h5py.File], None]:
    def change(file: h5py.File) -> None:
        file[name][at] = np.asarray(value, h5py.check_vlen_dtype(file[name].dtype))

    return change


def shortened(file: h5py.File) -> None:
    kept = file["spikes/units"][:11]
    del file["spikes/units"]
    file.create_dataset("spikes/units", data=kept, dtype=h5py.vlen_dtype(np.uint16))


DAMAGE: dict[str, tuple[Callable[[h5py.File], object], str]] = {
    "no times": (lambda file: file.pop("spikes/times"), r"must hold the dataset '/spikes/times'; holds .*/labels uint16 \(12,\)"),
    "no labels": (lambda file: file.pop("labels"), "must hold the dataset '/labels'"),
    "nothing": (lambda file: file.clear(), "must hold the dataset '/labels'; holds no dataset at all"),
    "times in a table": (
        replace("spikes/times", np.zeros((12, 5))),
        r"'/spikes/times' must be \(n,\) arrays of any length of floating point, is float64 \(12, 5\)",
    ),
    "times as units": (
        lambda file: (file.pop("spikes/times"), file.copy("spikes/units", "spikes/times")),
        "'/spikes/times' must be .* floating point, is arrays of uint16",
    ),
    "a time without unit": (ragged("spikes/units", 4, [1] * 59), "sample 4 must have a unit for each of its 60 times, has 59"),
    "a sample without units": (shortened, "'/spikes/units' must hold as many arrays as '/labels' holds labels, 12, holds 11"),
    "a time before the beginning": (
        ragged("spikes/times", 2, [-0.5] + [0.1] * 59),
        "finite seconds from 0 on; sample 2 holds -0.5 to 0.0999",
    ),
    "no time at all": (ragged("spikes/times", 11, [np.nan] * 60), "finite seconds from 0 on; sample 11 holds nan"),
    "infinite time": (ragged("spikes/times", 11, [1] * 59 + [np.inf]), "sample 11 holds 1 to inf"),
    "a unit too many": (ragged("spikes/units", 3, [700] * 60), "'/spikes/units' must be from 0 to 699; sample 3 holds 700 to 700"),
    "labels with a point": (
        replace("labels", np.zeros(12)),
        r"'/labels' must be at least one integer in one dimension, is float64 \(12,\)",
    ),
    "labels of nothing": (replace("labels", np.zeros(0, np.uint16)), "'/labels' must be at least one integer"),
    "a label beyond the names": (replace("labels", np.arange(12) % 4), "'/labels' must be from 0 to 2, of 3 classes, holds 0 to 3"),
    "a negative label": (replace("labels", -np.ones(12, np.int64)), "of 3 classes, holds -1 to -1"),
    "other names": (
        replace("extra/keys", np.array([b"a", b"b", b"c"])),
        r"shd_test.h5: '/extra/keys' must name the classes as shd_train.h5 does, \['a', 'b', 'c'\], has \['one', 'two', 'fünf'\]",
    ),
    "numbers for names": (replace("extra/keys", np.arange(3)), "'/extra/keys' must be texts in one dimension"),
    "a speaker too few": (
        replace("extra/speaker", np.arange(11)),
        "'/extra/speaker' must be 12 integers, one for each label, in one dimension",
    ),
}


@pytest.mark.parametrize("damage", list(DAMAGE))
def test_a_file_that_does_not_hold_is_refused_with_its_name_and_the_dataset(place: Path, damage: str) -> None:
    change, message = DAMAGE[damage]
    changed(place / "shd_train.h5", change)
    with pytest.raises(ns.DataError, match=message) as caught:
        load(place)
    assert str(place) in str(caught.value)


def test_speakers_are_needed_only_where_they_are_asked_for(place: Path) -> None:
    changed(place / "shd_train.h5", lambda file: file.pop("extra/speaker"))
    assert load(place).validation is None
    with pytest.raises(ns.DataError, match="must hold the dataset '/extra/speaker' for validation_speakers, has none"):
        load(place, validation_speakers=[1])


@pytest.mark.parametrize("packed", [False, True])
def test_a_file_that_is_cut_off_is_refused(place: Path, packed: bool) -> None:
    file = place / "shd_test.h5"
    whole = gzip.compress(file.read_bytes(), compresslevel=1) if packed else file.read_bytes()
    file.unlink()
    cut = file.with_name("shd_test.h5.gz") if packed else file
    for size in range(0, len(whole) - 1, len(whole) // 10):
        cut.write_bytes(whole[:size])
        with pytest.raises(ns.DataError, match=r"shd_test\.h5(\.gz)?: must be a whole"):
            load(place)


def test_a_missing_file_is_named_and_where_it_comes_from(place: Path) -> None:
    (place / "shd_test.h5").unlink()
    with pytest.raises(ns.DataError, match=r"the file shd_test.h5 or shd_test.h5.gz, has neither; they come from https://zenkelab.org"):
        load(place)
    with pytest.raises(ns.DataError, match=r"must be the folder with shd_train.h5 and shd_test.h5 from https://zenkelab.org"):
        load(place / "elsewhere")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"pool": 3}, "pool must divide the 700 units, got 3"),
        ({"dt": 0.0}, "dt must be a finite number of seconds, more than 0, got 0.0"),
        ({"time_steps": 0}, "time_steps: must be a whole number, 1 or more"),
        ({"events": "counts"}, r"events.*did you mean 'count'\?"),
    ],
    ids=["pool", "dt", "steps", "events"],
)
def test_a_grid_that_cannot_be_is_refused_before_any_file_is_looked_for(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ns.ConfigError, match=message):
        load(Path("nowhere"), **arguments)
