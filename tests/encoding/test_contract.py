"""What every registered encoder answers, whatever it is."""

from __future__ import annotations

import copy
import io
import pickle
from typing import Any

import pytest
import torch

import neurosim as ns
from neurosim.config.kinds import arguments_model, check_arguments
from neurosim.encoding import delta
from neurosim.errors import ConfigError
from tests.encoding.cases import CASES, EXTRA_UNITS, RANDOM, SOURCE, steps_of, values_for

ALL = [pytest.param(*case, id=", ".join(case)) for case in CASES]
DRAWING = [pytest.param(*case, id=", ".join(case)) for case in RANDOM]
SETTLED = [pytest.param(*case, id=", ".join(case)) for case in CASES if case not in RANDOM]
WITH_STEPS = [param for param in ALL if param.values[0] not in ("phase", "delta")]
FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)


def test_the_registry_holds_the_encoders_and_each_has_its_cases_here() -> None:
    assert len(ns.ENCODERS) >= 8
    assert {name for name, _ in CASES} == set(ns.ENCODERS)


@pytest.mark.parametrize("name", list(ns.ENCODERS))
def test_every_argument_is_annotated_described_and_can_be_read_back(name: str) -> None:
    fields = arguments_model(ns.ENCODERS[name], name).model_fields.values()
    encoder = next(make() for (one, _), make in CASES.items() if one == name)
    assert fields
    assert [field.alias for field in fields if not field.description or field.annotation is Any] == []
    assert [field.alias for field in fields if not hasattr(encoder, str(field.alias))] == []


def test_a_config_can_name_an_encoder_and_is_told_what_does_not_hold() -> None:
    registry: Any = ns.ENCODERS
    assert check_arguments(registry, "rate", {"steps": 8}, ())["steps"] == 8
    for wrong in ({"steps": 0}, {"steps": 8, "gain": -1.0}, {"step": 8}, {}):
        with pytest.raises(ValueError, match="validation error"):
            check_arguments(registry, "rate", wrong, ())


@pytest.mark.parametrize(("name", "kind"), ALL)
@pytest.mark.parametrize("units", [(6,), (2, 3, 4)])
def test_results_are_time_batch_units(name: str, kind: str, units: tuple[int, ...]) -> None:
    out = CASES[name, kind]()(values_for(name, 3, *units), stream=SOURCE)
    assert out.shape == (steps_of(name, kind), 3, *units, *EXTRA_UNITS.get(name, ()))


@pytest.mark.parametrize(("name", "kind"), ALL)
def test_a_batch_of_none_is_a_sequence_of_none(name: str, kind: str) -> None:
    assert CASES[name, kind]()(values_for(name, 0), stream=SOURCE).shape[:2] == (steps_of(name, kind), 0)


@pytest.mark.parametrize(("name", "kind"), ALL)
@pytest.mark.parametrize("dtype", FLOATS)
def test_the_result_has_the_type_of_the_values_and_is_that_of_the_same_values_in_64_bits(name: str, kind: str, dtype: torch.dtype) -> None:
    encoder, x = CASES[name, kind](), values_for(name).half().bfloat16()  # values that every type holds
    out, exact = encoder(x.to(dtype), stream=SOURCE), encoder(x.double(), stream=SOURCE)
    assert out.dtype == dtype
    assert out.isfinite().all()
    if kind == "constant" and name == "population":
        torch.testing.assert_close(out.double(), exact, rtol=2 * torch.finfo(dtype).eps, atol=1e-6)
    elif (name, kind) in RANDOM or kind == "previous":  # they round 1 probability in 2^24, and differences
        assert (out.double() - exact).abs().gt(0).double().mean() < 0.02
    else:
        assert torch.equal(out.double(), exact)


@pytest.mark.parametrize(("name", "kind"), SETTLED)
def test_samples_of_a_batch_do_not_see_each_other(name: str, kind: str) -> None:
    encoder, x = CASES[name, kind](), values_for(name)
    alone = x[:, 1:2] if name == "delta" else x[1:2]
    assert torch.equal(encoder(x)[:, 1:2], encoder(alone))


@pytest.mark.parametrize(("name", "kind"), DRAWING)
def test_a_random_encoder_without_a_stream_says_how_to_give_it_one(name: str, kind: str) -> None:
    with pytest.raises(
        ConfigError,
        match=r"needs a stream at every call, stream=neurosim\.random\.stream\(seed, 'a name'\), or a spiking network .*, got None",
    ):
        CASES[name, kind]()(values_for(name))


@pytest.mark.parametrize(("name", "kind"), DRAWING)
def test_the_same_stream_gives_the_same_spikes_and_another_draw_others(name: str, kind: str) -> None:
    encoder, x = CASES[name, kind](), values_for(name, 8)
    first = encoder(x, stream=SOURCE)
    assert torch.equal(encoder(x, stream=SOURCE), first)
    assert not torch.equal(encoder(x, stream=SOURCE._replace(draw=1)), first)


@pytest.mark.parametrize(("name", "kind"), DRAWING)
def test_more_steps_go_on_where_fewer_ended(name: str, kind: str) -> None:
    encoder, x = CASES[name, kind](), values_for(name)
    longer = ns.ENCODERS[name](**{**_settings(name, encoder), "steps": 12})
    assert torch.equal(longer(x, stream=SOURCE)[:7], encoder(x, stream=SOURCE))


@pytest.mark.parametrize(("name", "kind"), DRAWING)
def test_the_spikes_of_one_element_do_not_depend_on_the_values_of_others(name: str, kind: str) -> None:
    encoder, x = CASES[name, kind](), values_for(name)
    changed = x.clone()
    changed[0] = 1 - x[0]
    assert torch.equal(encoder(x, stream=SOURCE)[:, 1:], encoder(changed, stream=SOURCE)[:, 1:])


@pytest.mark.parametrize(("name", "kind"), ALL)
def test_the_global_generator_is_neither_used_nor_changed(name: str, kind: str) -> None:
    before = torch.get_rng_state()
    CASES[name, kind]()(values_for(name), stream=SOURCE)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize(("name", "kind"), ALL)
def test_copies_and_pickles_encode_the_same(name: str, kind: str) -> None:
    encoder, x = CASES[name, kind](), values_for(name)
    saved = io.BytesIO()
    torch.save(encoder, saved)
    saved.seek(0)
    expected = encoder(x, stream=SOURCE)
    for other in (copy.deepcopy(encoder), pickle.loads(pickle.dumps(encoder)), torch.load(saved, weights_only=False)):
        assert torch.equal(other(x, stream=SOURCE), expected)
    assert encoder.state_dict() == {}


@pytest.mark.parametrize(("name", "kind"), ALL)
def test_values_are_left_as_they_are(name: str, kind: str) -> None:
    x = values_for(name)
    kept = x.clone()
    CASES[name, kind]()(x, stream=SOURCE)
    assert torch.equal(x, kept)


@pytest.mark.parametrize(("name", "kind"), ALL)
def test_gradients_are_finite_where_there_are_any(name: str, kind: str) -> None:
    x = values_for(name).requires_grad_()
    out = CASES[name, kind]()(x, stream=SOURCE)
    smooth = name in ("constant", "rate", "poisson") or kind in ("rate", "constant")
    assert out.requires_grad == smooth
    if smooth:
        (grad,) = torch.autograd.grad(out.sum(), x)
        assert grad.isfinite().all()
        assert grad.abs().sum() > 0


@pytest.mark.parametrize(("name", "kind"), ALL)
def test_compiled_without_a_break_it_encodes_the_same(name: str, kind: str) -> None:
    encoder, x = CASES[name, kind](), values_for(name)
    torch.compiler.reset()
    compiled = torch.compile(encoder, fullgraph=True, backend="aot_eager")
    assert torch.equal(compiled(x, stream=SOURCE), encoder(x, stream=SOURCE))


@pytest.mark.parametrize(("name", "kind"), ALL)
def test_what_is_printed_makes_the_same_encoder(name: str, kind: str) -> None:
    encoder, x = CASES[name, kind](), values_for(name)
    again = eval(repr(encoder), {type(encoder).__name__: type(encoder)})
    assert torch.equal(again(x, stream=SOURCE), encoder(x, stream=SOURCE))


@pytest.mark.parametrize(("name", "kind"), ALL)
def test_wrong_values_are_refused_in_our_words(name: str, kind: str) -> None:
    encoder: Any = CASES[name, kind]()
    with pytest.raises(ConfigError, match="x must be a tensor, got list"):
        encoder([0.5], stream=SOURCE)
    with pytest.raises(ConfigError, match=r"x must be \((time, )?batch, \*units\), with at least one axis of units, got shape \(3,\)"):
        encoder(torch.zeros(3), stream=SOURCE)
    with pytest.raises(ConfigError, match=r"x must be floating point, got torch\.uint8; 8-bit images are x\.float\(\) / 255"):
        encoder(torch.zeros(9, 3, 6, dtype=torch.uint8), stream=SOURCE)


@pytest.mark.parametrize(("name", "kind"), WITH_STEPS)
@pytest.mark.parametrize("steps", [0, -1, 2.0, None])
def test_sequences_have_a_whole_number_of_steps(name: str, kind: str, steps: Any) -> None:
    settings = _settings(name, CASES[name, kind]())
    with pytest.raises(ConfigError, match=r"steps: must be a whole number, 1 or more, got"):
        ns.ENCODERS[name](**{**settings, "steps": steps})


def _settings(name: str, encoder: ns.Encoder) -> dict[str, Any]:
    fields = arguments_model(ns.ENCODERS[name], name).model_fields.values()
    return {str(field.alias): getattr(encoder, str(field.alias)) for field in fields}


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("rate", {"steps": 3, "gain": 0.0}, "Rate.gain: must be a finite number > 0, got 0.0"),
        ("latency", {"steps": 3, "threshold": 1.0}, "Latency.threshold: must be a finite number ≥ 0 and < 1, got 1.0"),
        ("rc_latency", {"steps": 3, "tau": 0.0, "dt": 1e-3}, "RCLatency.tau, seconds: must be a finite number > 0"),
        ("rc_latency", {"steps": 3, "tau": 1.0, "dt": float("inf")}, "RCLatency.dt, seconds: must be a finite number > 0, got inf"),
        ("poisson", {"steps": 3, "rate_hz": 1e6, "dt": 1e-3}, "Poisson: rate_hz * dt must be at most 64 spikes per step, got 1000"),
        ("phase", {"bits": 25}, "Phase.bits: must be a whole number, from 1 to 24, got 25"),
        ("delta", {"threshold": 0.0}, "Delta.threshold: must be a finite number > 0, got 0.0"),
        ("delta", {"reference": "send"}, "Delta.reference: must be one of 'sent', 'previous', got 'send'; did you mean 'sent'?"),
        ("population", {"steps": 3, "cells": 2}, "Population.cells: must be a whole number, 3 or more, got 2"),
        ("population", {"steps": 3, "cells": 3, "low": 1.0}, "Population.low: must be below high, got low=1, high=1"),
        ("population", {"steps": 3, "cells": 3, "code": "rates"}, "Population.code: must be one of"),
    ],
)
def test_a_setting_that_does_not_hold_is_named(name: str, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        ns.ENCODERS[name](**settings)
    assert message in str(caught.value)


def test_a_single_image_is_no_sequence_for_delta() -> None:
    with pytest.raises(
        ConfigError, match=r"delta: x must be \(time, batch, \*units\), with at least one axis of units, got shape \(4, 6\)"
    ):
        delta(torch.zeros(4, 6))
