"""What ``neurosim doctor`` finds."""

from __future__ import annotations

import importlib.metadata
import sys
from pathlib import Path

import pytest

from neurosim import doctor
from neurosim.doctor import Check, examine, torchvision_problem


@pytest.fixture(scope="module")
def checks() -> dict[str, Check]:
    return {check.name: check for check in examine()}


def test_nothing_is_at_fault_where_the_suite_passes(checks: dict[str, Check]) -> None:
    assert not [check for check in checks.values() if check.state == "fault"]


def test_it_says_on_what_every_op_runs_and_why(monkeypatch: pytest.MonkeyPatch) -> None:
    from neurosim.ops import native

    def text() -> str:
        return {check.name: check for check in examine()}["CPU ops"].text

    monkeypatch.setenv("NEUROSIM_NATIVE", "require")
    assert text().startswith(f"kernels for {native.library().instruction_set} on the threads of torch: ")
    assert {"lif", "cuba_lif", "li", "quantize", "philox_uniform", "philox_normal"} <= set(text().rpartition(": ")[2].split(", "))
    monkeypatch.setenv("NEUROSIM_NATIVE", "off")
    assert text().startswith("reference in torch, because NEUROSIM_NATIVE=off")
    monkeypatch.setenv("NEUROSIM_NATIVE", "sometimes")
    (fault,) = [check for check in examine() if check.state == "fault"]
    assert "must be one of auto, off, require" in fault.text


def test_a_missing_library_of_kernels_is_a_note_unless_it_is_required(monkeypatch: pytest.MonkeyPatch) -> None:
    from neurosim.ops import native

    monkeypatch.setattr(native, "library", lambda: native.Library(None, None, "", False, "it was not built"))
    for mode, state in (("auto", "note"), ("require", "fault")):
        monkeypatch.setenv("NEUROSIM_NATIVE", mode)
        (check,) = [check for check in examine() if check.name == "CPU ops"]
        assert check.state == state
        assert "it was not built" in check.text


def test_every_check_has_a_name_of_its_own() -> None:
    names = [check.name for check in examine()]
    assert len(set(names)) == len(names)


def test_the_versions_are_the_installed_ones(checks: dict[str, Check]) -> None:
    assert f"numpy {importlib.metadata.version('numpy')}" in checks["packages"].text
    assert sys.version.split()[0] in checks["python"].text


def test_torchvision_is_judged_without_importing_it() -> None:
    examine()
    assert "torchvision" not in sys.modules


@pytest.mark.parametrize(("torch", "torchvision"), [("2.13.0", "0.28.0"), ("2.13.1+cu130", "0.28.1+cu130"), ("2.10.0+cpu", "0.25.0+cpu")])
def test_versions_of_one_release_and_device_fit(torch: str, torchvision: str) -> None:
    assert torchvision_problem(torch, torchvision) is None


@pytest.mark.parametrize(
    ("torch", "torchvision", "problem"),
    [
        ("2.13.0", "0.29.0", "not the one for torch 2.13.0, which is 0.28"),
        ("2.13.0+cpu", "0.28.0", "different devices"),
        ("2.13.0", "0.28.0+cu130", "different devices"),
        ("", "0.28.0", "cannot be compared"),
    ],
)
def test_versions_that_do_not_fit_are_told_apart(torch: str, torchvision: str, problem: str) -> None:
    assert problem in str(torchvision_problem(torch, torchvision))


def test_a_missing_library_is_a_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "_CORE", ("numpy", "no-such-library"))
    (packages,) = [check for check in examine() if check.name == "packages"]
    assert packages.state == "fault"
    assert packages.text.endswith("missing: no-such-library")


def test_a_folder_that_cannot_be_written_to_is_a_fault(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "missing"))
    (place,) = [check for check in examine() if check.name == "temporary files"]
    assert place.state == "fault"
    assert "cannot be written to" in place.text


def test_no_compiler_is_a_note_and_not_a_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXX", "no-such-compiler")
    (compiler,) = [check for check in examine() if check.name == "compiler"]
    assert compiler.state == "note"
    assert "aot_eager" in compiler.text


def test_a_profile_that_does_not_load_is_a_fault_with_its_first_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("neurosim.hardware.profile.list_profiles", lambda: ["photonic_avn"])
    (profiles,) = [check for check in examine() if check.name == "profiles"]
    assert profiles.state == "fault"
    assert "photonic_avn" in profiles.text
    assert "\n" not in profiles.text
