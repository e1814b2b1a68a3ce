"""Norms whose statistics freeze during training, until weights take them over whole."""

from __future__ import annotations

import copy
import io
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import neurosim as ns
from neurosim.errors import ConfigError, ConversionError
from neurosim.norms import FreezingNorm, GroupNorm, InstanceBatchNorm, LayerNorm, MeasuredNorm, PowerNorm, RMSNorm
from tests.norms.contracts import draw, varied

C = 16
NO_BATCH: Any = ["x"]
NO_INPUTS: Any = [[]]
NUMBER: Any = 3
NO_NORM: Any = nn.LayerNorm(3)
MEASURED = [name for name in ns.NORMS if ns.NORMS[name].kind == "module" and isinstance(ns.NORMS[name].example(), MeasuredNorm)]


def apart(one: Tensor, other: Tensor) -> float:
    return float((one - other).detach().abs().max()) / max(1.0, float(other.detach().abs().max()))


def frozen(model: nn.Module, data: Tensor) -> Any:
    return ns.freeze_statistics(model, 0, data).eval()


def test_all_norms_of_samples_can_be_frozen_but_those_that_are_curves() -> None:
    left = {name for name in ns.NORMS if ns.NORMS[name].kind == "module" and ns.NORMS[name].fold == "F2"} - set(MEASURED)
    assert left == {"ibn", "evonorm_b0", "evonorm_b1", "evonorm_b2", "evonorm_s0", "evonorm_s1"}  # ibn: its half that is one


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-6), (torch.float64, 1e-12)])
@pytest.mark.parametrize("name", [*MEASURED, "ibn"])
def test_a_frozen_norm_folds_whole_into_the_layer_before(name: str, dtype: torch.dtype, tolerance: float) -> None:
    norm = varied(ns.NORMS[name].example())
    model = nn.Sequential(nn.Conv2d(3, C, 1), norm).to(dtype)
    x = draw(4, 3, 3, 2, dtype=dtype)
    still = frozen(model, x)
    folded: Any = ns.fold(still)
    assert folded.folding.count("folded") == 1
    assert apart(folded(x), still(x)) <= tolerance


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-6), (torch.float64, 1e-12)])
@pytest.mark.parametrize(
    "make",
    [lambda: varied(LayerNorm(C)), lambda: nn.LayerNorm(C), lambda: nn.LayerNorm(C, bias=False), lambda: nn.RMSNorm(C)],
    ids=["layer", "torch's layer", "torch's without shift", "torch's rms"],
)
def test_a_frozen_norm_folds_whole_into_the_layer_after(make: Any, dtype: torch.dtype, tolerance: float) -> None:
    model = nn.Sequential(make(), nn.Linear(C, 4)).to(dtype)
    x = draw(8, C, dtype=dtype)
    still = frozen(model, x)
    folded: Any = ns.fold(still, x)
    assert isinstance(folded[0], nn.Identity)
    assert apart(folded(x), still(x)) <= tolerance


def test_a_norm_that_measures_nothing_is_left_alone_and_folds_by_itself() -> None:
    model = nn.Sequential(nn.Linear(4, C), PowerNorm(C, groups=0), nn.LayerNorm(C)).double()
    model(x := draw(8, 4, dtype=torch.float64))
    still = frozen(model, x)
    assert [type(one) for one in still[1:]] == [PowerNorm, FreezingNorm]
    assert apart(ns.fold(still)(x), still(x)) <= 1e-12


def test_centring_folds_into_convolutions_of_either_kind() -> None:
    x = draw(4, 6, 4, 4, dtype=torch.float64)
    for layers in (
        [nn.ConvTranspose2d(6, C, 3), LayerNorm(C)],
        [nn.Identity(), LayerNorm(6), nn.Conv2d(6, 2, 3, bias=False)],
        [nn.Conv2d(6, C, 1, bias=False), LayerNorm(C, affine=False)],
    ):
        still = frozen(nn.Sequential(*layers).double(), x)
        folded: Any = ns.fold(still)
        assert folded.folding.count("folded") == 1
        assert apart(folded(x), still(x)) < 1e-12
    left: Any = ns.fold(frozen(nn.Sequential(nn.Conv2d(6, 6, 1, groups=2), LayerNorm(6)).double(), x))
    assert "a grouped convolution, whose outputs have no inputs in common" in left.folding.norms[0].reason


@pytest.mark.parametrize("name", MEASURED)
def test_a_norm_that_is_not_frozen_yet_computes_what_it_did(name: str) -> None:
    norm = varied(ns.NORMS[name].example()).double().eval()
    x = draw(4, C, 3, 2, dtype=torch.float64)
    freezing = FreezingNorm(norm, 2).eval()
    torch.testing.assert_close(freezing(x), norm(x), rtol=1e-9, atol=1e-9)
    with pytest.raises(ConversionError, match="it takes statistics of every sample until 2 batches of training, of which 0 are over"):
        freezing.fold()
    assert freezing.bounds() == norm.bounds()
    assert freezing.hw_ops() == norm.hw_ops()


def test_the_average_is_that_of_the_spread() -> None:
    norm = LayerNorm(C).double()
    x, later = draw(6, C, 4, dtype=torch.float64), draw(5, C, 2, name="later", dtype=torch.float64)
    freezing: Any = ns.freeze_statistics(norm, 0, [x, later])
    spread = torch.cat([(one.var(1, correction=0) + norm.eps).sqrt().mean(1) for one in (x, later)]).mean()  # of samples, then of all
    torch.testing.assert_close(freezing.averages[0], spread.reshape(1))
    torch.testing.assert_close(freezing(later), (later - later.mean(1, keepdim=True)) / spread)


def test_averages_of_training_count_alike_at_first_and_then_by_the_momentum() -> None:
    freezing = FreezingNorm(RMSNorm(2, 1e-12), 6, momentum=0.5)
    expected = torch.zeros(1)
    for at in range(1, 7):
        freezing(torch.full((3, 2), float(at)))
        expected += (at - expected) * max(0.5, 1 / at)
        torch.testing.assert_close(freezing.averages[0], expected)
    assert freezing.frozen
    before = copy.deepcopy(freezing.state_dict())
    y = freezing(torch.full((3, 2), 100.0))
    torch.testing.assert_close(y, torch.full((3, 2), 100.0) / expected)
    torch.testing.assert_close(freezing.state_dict(), before, rtol=0, atol=0)


def test_norms_freeze_one_after_the_other_as_the_schedule_says() -> None:
    model = nn.Sequential(*(nn.Sequential(nn.Linear(4, 4), nn.LayerNorm(4), nn.RMSNorm(4)) for _ in range(3)), nn.LayerNorm(4))
    freezing: Any = ns.freeze_statistics(model, {"3": 5, "*.1": (1, 2), "1.2": 2})
    assert isinstance(freezing[0][2], nn.RMSNorm)  # named by no glob
    norms = {path: one for path, one in freezing.named_modules() if isinstance(one, FreezingNorm)}
    seen: dict[int, list[str]] = {}
    for batch in range(7):
        seen[batch] = [path for path, one in norms.items() if one.frozen]
        freezing(draw(8, 4))
    one, two, three = ["0.1"], ["0.1", "1.2"], ["0.1", "1.1", "1.2"]
    assert seen == {0: [], 1: one, 2: two, 3: three, 4: three, 5: [*three, "2.1", "3"], 6: [*three, "2.1", "3"]}


def test_training_goes_on_after_a_checkpoint_as_if_nothing_had_been() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 5), nn.LayerNorm(5), nn.ReLU(), nn.Linear(5, 4), RMSNorm(4), nn.Linear(4, 2))
    x, schedule = draw(16, 6), (2, 2)

    def train(net: nn.Module, batches: range) -> None:
        optimizer = torch.optim.SGD(net.parameters(), 0.1)
        for at in batches:
            optimizer.zero_grad()
            net(x * (1 + 0.1 * at)).square().mean().backward()
            optimizer.step()

    whole, first = ns.freeze_statistics(model, schedule), ns.freeze_statistics(model, schedule)
    train(whole, range(6))
    train(first, range(3))
    file = io.BytesIO()
    torch.save(first.state_dict(), file)
    file.seek(0)
    second = ns.freeze_statistics(model, 99)  # what is loaded knows its own schedule
    second.load_state_dict(torch.load(file, weights_only=True), strict=True)
    train(second, range(3, 6))
    torch.testing.assert_close(second.state_dict(), whole.state_dict(), rtol=0, atol=0)
    assert all(norm.frozen for norm in whole.modules() if isinstance(norm, FreezingNorm))
    folded: Any = ns.fold(whole.eval(), x)
    assert folded.folding.count("folded") == 2
    assert not any(isinstance(norm, FreezingNorm | nn.LayerNorm) for norm in folded.modules())
    assert apart(folded(x), whole(x)) < 1e-6


def test_the_gradient_of_a_frozen_norm_is_that_of_a_linear_map() -> None:
    freezing: Any = ns.freeze_statistics(varied(LayerNorm(4)).double(), 0, draw(8, 4, dtype=torch.float64))
    x = draw(3, 4, dtype=torch.float64).requires_grad_()
    assert torch.autograd.gradcheck(freezing, x)
    projection = torch.eye(4, dtype=torch.float64) - 0.25
    jacobian = torch.autograd.functional.jacobian(freezing, x[:1].detach()).reshape(4, 4)
    torch.testing.assert_close(jacobian, freezing.norm.weight.detach().reshape(-1, 1) * projection / freezing.averages[0])


def test_parameters_of_torch_norms_stay_the_same_objects_and_go_on_learning() -> None:
    model = nn.Sequential(nn.Linear(4, 6), nn.GroupNorm(2, 6), nn.Linear(6, 4), nn.InstanceNorm1d(5, affine=True))
    mine = (model[1].weight, model[3].bias)
    ns.freeze_statistics(model, 3, inplace=True)
    groups: Any = model[1]
    instance: Any = model[3]
    assert groups.norm.weight is mine[0]
    assert instance.norm.bias is mine[1]
    assert isinstance(groups.norm, GroupNorm)


def test_norms_survive_copies_16_bits_and_compilation() -> None:
    freezing = ns.freeze_statistics(nn.Sequential(nn.LayerNorm(4)), 0, draw(8, 4)).eval()
    x = draw(3, 4)
    y = freezing(x)
    assert torch.equal(copy.deepcopy(freezing)(x), y)
    assert torch.equal(torch.compile(freezing, fullgraph=True, backend="aot_eager")(x), y)
    torch.testing.assert_close(copy.deepcopy(freezing).bfloat16()(x.bfloat16()).float(), y, rtol=0.02, atol=0.02)


class ChannelsFirst(nn.LayerNorm):
    """A layer norm over axis 1, as many models have one."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


def test_a_class_derived_from_a_norm_of_torch_is_not_taken_for_it() -> None:
    model = nn.Sequential(nn.Conv2d(2, 6, 3), ChannelsFirst(6), nn.GroupNorm(2, 6))
    x = draw(4, 2, 8, 8)
    changed: Any = frozen(model, x)
    assert [type(one) for one in changed] == [nn.Conv2d, ChannelsFirst, FreezingNorm]
    with pytest.raises(ConfigError, match="the model has no norm that takes statistics of every sample"):
        ns.freeze_statistics(model[:2], 0, x)
    with pytest.raises(ConversionError, match="a ChannelsFirst has a forward of its own"):
        ns.swap_norm(model[:2], "rms")


def test_averages_that_are_not_finite_are_refused() -> None:
    model = nn.Sequential(nn.Linear(3, 4), nn.LayerNorm(4))
    x = draw(6, 3)
    with pytest.raises(ConfigError, match="all averages must be finite"):
        ns.freeze_statistics(model, 0, [x, x.clone().fill_(float("nan"))], inplace=True)
    assert isinstance(model[1], nn.LayerNorm)
    norm = FreezingNorm(LayerNorm(3), 1)
    norm(x * float("inf"))
    with pytest.raises(ConversionError, match="its averages are not all finite"):
        norm.eval().fold_centered()


def test_nothing_is_frozen_at_averages_that_no_data_gave() -> None:
    norm, x = FreezingNorm(RMSNorm(3), 0), 7 * draw(6, 3)
    assert not norm.frozen
    torch.testing.assert_close(norm.eval()(x), RMSNorm(3)(x))
    with pytest.raises(ConversionError, match="until 1 batches of training, of which 0 are over"):
        norm.fold()
    norm.train()(x)
    assert norm.frozen
    torch.testing.assert_close(norm(2 * x), 2 * x / norm.averages[0])
    given = FreezingNorm(RMSNorm(3), 0)
    given.set_averages([torch.tensor(2.0)], 1)
    torch.testing.assert_close(given(x), x / 2)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("make", [lambda: nn.LayerNorm(4), lambda: nn.RMSNorm(4), lambda: nn.GroupNorm(2, 4), lambda: LayerNorm(4)])
def test_models_of_16_bits_are_frozen_with_parameters_of_32(make: Any, dtype: torch.dtype) -> None:
    model, x = nn.Sequential(nn.Linear(3, 4), make()), draw(8, 3)
    expected = frozen(model, x)(x)
    narrow = copy.deepcopy(model).to(dtype)
    still = frozen(narrow, x.to(dtype))
    y = still(x.to(dtype))
    assert y.dtype == dtype
    torch.testing.assert_close(y.float(), expected, rtol=0.03, atol=0.03)
    still.train()(x.to(dtype)).float().square().sum().backward()
    assert all(value.grad is not None and value.dtype == torch.float32 for value in still[1].parameters())
    ns.freeze_statistics(narrow, 2)(x.to(dtype))


def test_half_of_an_ibn_is_frozen_where_it_stands() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 1), InstanceBatchNorm(4))
    still: Any = frozen(model, draw(4, 3, 3, 3))
    assert isinstance(still[1].instance, FreezingNorm)
    with pytest.raises(ConversionError, match=r"InstanceNorm: it takes statistics of every sample, so no constant"):
        InstanceBatchNorm(4).fold()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: ns.freeze_statistics(nn.Linear(2, 2), 3), "the model has no norm that takes statistics of every sample"),
        (lambda: ns.freeze_statistics(nn.LayerNorm(2)), r"\(model\) is to be frozen from the start, which needs a loader"),
        (lambda: ns.freeze_statistics(nn.LayerNorm(2), {"a.*": 3}), "'a.*' names no norm"),
        (lambda: ns.freeze_statistics(nn.LayerNorm(2), -1), r"schedule: '\*', batches: must be a whole number, 0 or more, got -1"),
        (lambda: ns.freeze_statistics(nn.LayerNorm(2), [1, 2, 3]), "must have a start, or a start and a gap"),
        (lambda: ns.freeze_statistics(nn.LayerNorm(2), 3, momentum=2.0), "momentum: must be more than 0 and at most 1, got 2.0"),
        (lambda: ns.freeze_statistics(nn.LayerNorm(2), 3, []), "the loader holds no batches"),
        (lambda: ns.freeze_statistics(nn.LayerNorm(2), 3, NO_BATCH), "batches must be tensors"),
        (lambda: ns.freeze_statistics(nn.LayerNorm(2), 3, NO_INPUTS), "batches must be tensors, or begin with one, got NoneType"),
        (lambda: ns.freeze_statistics(NUMBER, 1), r"freeze_statistics: model must be a torch\.nn\.Module, got int"),
        (lambda: ns.freeze_statistics(nn.LayerNorm(2), 1, NUMBER), "loader: must be a tensor, or batches, got int"),
        (lambda: ns.freeze_statistics(nn.LayerNorm(2), 1, stream=NUMBER), "stream must be a neurosim.random.Stream, got int"),
        (lambda: ns.freeze_statistics(PowerNorm(4, groups=0), 1), "the model has no norm that takes statistics of every sample"),
        (lambda: FreezingNorm(PowerNorm(4, groups=0), 1), r"by statistics of every sample, got .*PowerNorm, made to take none"),
        (lambda: FreezingNorm(NO_NORM, 1), r"FreezingNorm\.norm: must be a norm of this package .*got torch\.nn\.\S*LayerNorm"),
    ],
)
def test_what_cannot_be_is_refused(call: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        call()


def test_a_model_that_fails_is_left_as_it_was() -> None:
    model = nn.Sequential(nn.Linear(3, 4), nn.LayerNorm(4))
    bad: Any
    for bad in ([torch.rand(2, 5)], [], NO_BATCH):
        with pytest.raises((ConfigError, RuntimeError)):
            ns.freeze_statistics(model, 0, bad, inplace=True)
        assert isinstance(model[1], nn.LayerNorm)
        assert not model[1]._forward_pre_hooks
        assert model.training
    model[1].register_forward_hook(lambda *_: None)
    with pytest.raises(ConversionError, match="1 has hooks; the model is unchanged"):
        ns.freeze_statistics(model, 1)
    with pytest.raises(ConversionError, match="a model that is itself a norm cannot be replaced in place"):
        ns.freeze_statistics(nn.LayerNorm(4), 1, inplace=True)
