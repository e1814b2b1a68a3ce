"""Gates in models: what must hold exactly, what must hold in expectation, and what is refused."""

from __future__ import annotations

import copy
import io
import math
import pickle
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import neurosim as ns
from neurosim.errors import ConfigError, ConversionError, DataError
from neurosim.random import stream
from neurosim.sparsity import Gated, fold_centres, gated_layers
from neurosim.sparsity.thresholds import column_norms, largest

METHODS = ["teal", "chess", "cats", "wina", "scap"]


def normal(*shape: int, draw: int = 0) -> Tensor:
    return stream(7, "sparsify", draw=draw).normal(shape, like=torch.empty(0))


def fill(model: Any) -> Any:
    """Weights that do not depend on the global generator."""
    with torch.no_grad():
        for at, value in enumerate(model.parameters()):
            value.copy_(normal(*value.shape, draw=100 + at) / math.sqrt(max(1, value[0].numel() if value.dim() > 1 else 16)))
    return model


def mlp(act: type[nn.Module] = nn.GELU) -> Any:
    return fill(nn.Sequential(nn.Linear(12, 24), act(), nn.Linear(24, 20), act(), nn.Linear(20, 4)))


def cnn() -> Any:
    return fill(nn.Sequential(nn.Conv2d(2, 4, 3), nn.SiLU(), nn.Conv2d(4, 6, 3, groups=2), nn.SiLU(), nn.Flatten(), nn.Linear(96, 3)))


X = normal(256, 12)
IMAGES = normal(32, 2, 8, 8)


# --- what must hold exactly ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", METHODS)
def test_without_sparsity_nothing_changes_bit_by_bit(method: Any) -> None:
    for model, x in ((mlp(), X), (cnn(), IMAGES)):
        for centre in ("zero", "median", "kde") if method == "scap" else (None,):
            sparse = ns.sparsify(model, method, 0.0, x, centre=centre)
            assert torch.equal(sparse(x), model(x))
            report = sparse.sparsification
            assert isinstance(report, ns.Sparsification)
            assert (report.error, report.reached) == (0.0, 0.0)


@pytest.mark.parametrize("select", ["vector", "threshold"])
def test_where_all_columns_have_one_norm_wina_is_teal(select: Any) -> None:
    model = mlp()
    with torch.no_grad():
        for layer in model:
            if isinstance(layer, nn.Linear):  # columns of length 2, a power of two, so that scores are not rounded
                layer.weight.copy_(2 * nn.functional.normalize(layer.weight.double(), dim=0))
                layer.weight.copy_(torch.where(torch.arange(len(layer.weight))[:, None] == 0, 2.0, 0.0))
    wina, teal = (ns.sparsify(model, method, 0.4, X, select=select) for method in ("wina", "teal"))
    assert torch.equal(wina(X), teal(X))
    assert gated_layers(wina)["0"].gate.weights is not None


def test_behind_relu_the_mode_is_0_and_centring_has_no_effect() -> None:
    model = mlp(nn.ReLU)
    layers = ["2", "4"]
    teal = ns.sparsify(model, "teal", 0.7, X, layers=layers)
    for centre in ("zero", "kde"):
        scap = ns.sparsify(model, "scap", 0.7, X, layers=layers, centre=centre)
        assert torch.equal(scap(X), teal(X))
        assert [one.centre for one in scap.sparsification.layers] == [0.0, 0.0]


def test_the_report_tells_the_share_the_error_and_the_centre() -> None:
    model = mlp()
    sparse = ns.sparsify(model, "scap", {"0": 0.25, "2": 0.5}, X, centre="median")
    first, second = sparse.sparsification.layers
    assert (first.layer, second.layer) == ("0", "2")
    assert first.reached == pytest.approx(0.25, abs=1 / X.numel())
    gate: Any = gated_layers(sparse)["0"].gate
    centre = X.flatten().median()
    assert first.centre == float(centre)
    left = torch.where((X - centre).abs() > gate.threshold, X, centre)
    wanted, found = model[0](X).detach(), model[0](left).detach()
    assert first.error == pytest.approx(float((found - wanted).norm() / wanted.norm()), rel=1e-5)
    total = (sparse(X) - model(X)).detach().norm() / model(X).detach().norm()
    assert sparse.sparsification.error == pytest.approx(float(total), rel=1e-5)
    assert "scap: 2 gates, 0 layers left" in str(sparse.sparsification)
    assert sparse.sparsification.to_dict()["layers"][0]["asked"] == 0.25


@pytest.mark.parametrize("method", ["teal", "chess", "cats", "scap", "wina"])
def test_the_share_that_was_asked_for_is_reached_on_the_calibration_data(method: Any) -> None:
    sparse = ns.sparsify(mlp(), method, 0.5, X, layers="1" if method == "cats" else "0")
    (only,) = sparse.sparsification.layers
    assert only.reached == pytest.approx(0.5, abs=12 / X.numel())


# --- what must hold in expectation -----------------------------------------------------------------------------------------------------


def test_wina_has_the_smaller_error_where_column_norms_are_log_normal() -> None:
    """Of independent zero-mean columns the expected squared error is Σ x²‖W‖² over what is left out, of which WINA takes the least.

    A draw in which WINA is worse would need the cross terms to outweigh that; 60 draws without one bound its probability by 5 % (95 %).
    """
    worse, expected = 0, []
    for draw in range(60):
        layer = nn.Linear(64, 64, bias=False)
        norms = torch.exp(normal(64, draw=2 * draw))
        with torch.no_grad():
            layer.weight.copy_(nn.functional.normalize(normal(64, 64, draw=2 * draw + 1), dim=0) * norms)
        x = normal(32, 64, draw=1000 + draw)
        model: Any = nn.Sequential(layer)
        wina, teal = (ns.sparsify(model, method, 0.5, x, select="vector") for method in ("wina", "teal"))
        worse += wina.sparsification.error > teal.sparsification.error
        masks = [~gated_layers(one)["0"].gate.keeps(x) for one in (wina, teal)]
        expected.append([float(((x * norms).square() * mask).sum()) for mask in masks])
    assert worse == 0
    assert all(ours <= theirs for ours, theirs in expected)


def test_of_200_draws_with_log_normal_column_norms_wina_has_the_smaller_error_in_all() -> None:
    for draw in range(200):
        norms = torch.exp(normal(64, draw=2 * draw))
        weight = nn.functional.normalize(normal(64, 64, draw=2 * draw + 1), dim=0) * norms
        x = normal(32, 64, draw=1000 + draw)
        scores = x.abs() * column_norms(weight), x.abs()
        wina, teal = (float(((x * ~largest(one, 0.5)) @ weight.mT).norm()) for one in scores)
        assert wina < teal


@pytest.mark.parametrize("outputs", [1, 8, 64, 100])
@pytest.mark.parametrize("shape", [(32, 64), (3, 5, 64)], ids=str)
@pytest.mark.parametrize("sparsity", [0.25, 0.5, 0.9])
def test_where_all_columns_have_one_norm_wina_keeps_what_teal_keeps(outputs: int, shape: tuple[int, ...], sparsity: float) -> None:
    """Weights of one magnitude and any signs, so that the norms are equal to the last bit."""
    layer = nn.Linear(64, outputs)
    with torch.no_grad():
        layer.weight.copy_(0.3 * normal(outputs, 64, draw=outputs).sign())
    x = normal(*shape, draw=3)
    model: Any = nn.Sequential(layer)
    wina, teal = (ns.sparsify(model, method, sparsity, x, select="vector") for method in ("wina", "teal"))
    kept = [gated_layers(one)["0"].gate.keeps(x) for one in (wina, teal)]
    assert torch.equal(*kept)
    assert 0 < float(kept[0].double().mean()) < 1
    assert torch.equal(wina(x), teal(x))


@pytest.mark.parametrize("method", ["teal", "chess", "wina", "scap"])
@pytest.mark.parametrize("sparsity", [0.25, 0.5, 0.9])
def test_so_many_inputs_of_new_data_are_exactly_zero(method: Any, sparsity: float) -> None:
    """Five standard deviations of the share on as many new numbers as thresholds were taken from, and one place of a quantile."""
    settings: dict[str, Any] = {"centre": "zero"} if method == "scap" else {}
    model: Any = fill(nn.Sequential(nn.Linear(20, 8)))
    known, new = normal(2000, 20, draw=4), normal(2000, 20, draw=5)
    sparse = ns.sparsify(model, method, sparsity, known, **settings)
    seen: list[Tensor] = []
    gated_layers(sparse)["0"].gate.register_forward_hook(lambda *given: seen.append(given[2]))
    sparse(new)
    (given,) = seen
    share = float((given == 0).double().mean())
    assert abs(share - sparsity) < 5 * math.sqrt(2 * sparsity * (1 - sparsity) / new.numel()) + 1 / 2000
    assert torch.equal(given[given != 0], new[given != 0])


@pytest.mark.parametrize("act", [nn.GELU, nn.SiLU])
def test_behind_gelu_and_silu_centring_makes_the_error_smaller(act: type[nn.Module]) -> None:
    errors = {
        centre: ns.sparsify(mlp(act), "scap", 0.5, X, layers=["2", "4"], centre=centre).sparsification.layers[0].error
        for centre in ("zero", "median", "kde")
    }
    assert errors["kde"] < 0.6 * errors["zero"]
    assert errors["median"] < errors["zero"]


# --- folding, and back -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("bias", [True, False])
def test_centres_fold_into_biases_and_what_is_left_out_is_then_0(bias: bool) -> None:
    for model, x in ((mlp().double(), X.double()), (cnn().double(), IMAGES.double())):
        for layer in model.modules():
            if not bias and hasattr(layer, "bias"):
                layer.bias = None
        sparse = ns.sparsify(model, "scap", 0.5, x)
        folded = fold_centres(sparse)
        torch.testing.assert_close(folded(x), sparse(x), rtol=1e-12, atol=1e-12)
        for one in gated_layers(folded).values():
            seen: list[Tensor] = []
            handle = one.gate.register_forward_hook(lambda *given, seen=seen: seen.append(given[2]))
            folded(x)
            handle.remove()
            assert float((seen[0] == 0).double().mean()) > 0.4
        back = ns.densify(folded)
        torch.testing.assert_close(back(x), model(x), rtol=1e-12, atol=1e-12)
        assert list(back.state_dict()) == list(model.state_dict())
        assert torch.equal(ns.densify(sparse)(x), model(x))


def test_padding_with_zeros_does_not_fold_and_nothing_is_changed() -> None:
    model = fill(nn.Sequential(nn.Conv2d(2, 3, 3, padding=1), nn.SiLU(), nn.Conv2d(3, 2, 3)))
    sparse = ns.sparsify(model, "scap", 0.5, IMAGES, centre="median")
    before = copy.deepcopy(sparse.state_dict())
    with pytest.raises(ConversionError, match="0: it pads with zeros"):
        fold_centres(sparse, inplace=True)
    assert all(torch.equal(value, before[name]) for name, value in sparse.state_dict().items())
    fold_centres(ns.sparsify(model, "teal", 0.5, IMAGES))  # a centre of 0 needs no folding


# --- models as they are ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", METHODS)
def test_a_model_with_gates_is_a_model_like_any_other(method: Any) -> None:
    model = cnn()
    sparse = ns.sparsify(model, method, 0.5, IMAGES)
    wanted = sparse(IMAGES)
    assert not torch.equal(wanted, model(IMAGES))
    for twin in (copy.deepcopy(sparse), pickle.loads(pickle.dumps(sparse))):
        assert torch.equal(twin(IMAGES), wanted)
    other = ns.sparsify(model, method, 0.1, IMAGES) if method != "wina" else copy.deepcopy(sparse)
    buffer = io.BytesIO()
    torch.save(sparse.state_dict(), buffer)
    buffer.seek(0)
    other.load_state_dict(torch.load(buffer, weights_only=True), strict=True)
    assert torch.equal(other(IMAGES), wanted)
    if method in ("chess", "wina"):
        torch.testing.assert_close(torch.compile(sparse, fullgraph=True, backend="aot_eager")(IMAGES), wanted)
    assert sparse.to(torch.bfloat16)(IMAGES.to(torch.bfloat16)).dtype == torch.bfloat16


def test_only_what_is_kept_has_a_gradient() -> None:
    sparse = ns.sparsify(nn.Sequential(fill(nn.Linear(12, 3))), "teal", 0.5, X)
    x = X.clone().requires_grad_()
    (slope,) = torch.autograd.grad(sparse(x).sum(), x)
    assert torch.equal(slope != 0, gated_layers(sparse)["0"].gate.keeps(X))


def test_layers_on_hardware_have_gates_and_noise_goes_on_where_it_was() -> None:
    chip: Any = ns.to_analog(mlp(), "photonic_avnn", seed=3)
    first = copy.deepcopy(chip)
    wanted = first(X), first(X)
    sparse = ns.sparsify(chip, "teal", 0.0, X)
    assert torch.equal(sparse(X), wanted[0])
    assert torch.equal(sparse(X), wanted[1])
    assert isinstance(sparse[0], Gated)
    half = ns.sparsify(chip, "scap", 0.5, X)
    assert half.sparsification.layers[0].reached == pytest.approx(0.5, abs=0.01)
    with ns.noise("ideal", half):
        torch.testing.assert_close(fold_centres(half)(X), half(X), rtol=0.2, atol=0.2)


def test_gates_stay_when_the_model_goes_onto_hardware() -> None:
    sparse = ns.sparsify(mlp(), "teal", 0.5, X)
    chip: Any = ns.to_analog(sparse, "ideal", seed=0)
    torch.testing.assert_close(chip(X), sparse(X), rtol=1e-4, atol=1e-5)
    assert len(gated_layers(chip)) == 3


def test_a_shared_layer_has_one_gate_at_all_places() -> None:
    shared = nn.Linear(12, 12)
    model = fill(nn.Sequential(shared, nn.GELU(), shared))
    sparse = ns.sparsify(model, "teal", 0.5, X)
    assert sparse[0] is sparse[2]
    assert len(sparse.sparsification.layers) == 1


class _Attention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.attention, self.head = nn.MultiheadAttention(12, 2, batch_first=True), nn.Linear(12, 2)

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.head(self.attention(x, x, x, need_weights=False)[0])
        return found


def test_a_layer_that_is_not_called_is_left_and_the_report_says_so() -> None:
    sparse: Any = ns.sparsify(_Attention().eval(), "teal", 0.5, normal(4, 5, 12))
    left, gated = sparse.sparsification.layers
    assert left.layer == "attention.out_proj"
    assert "nothing reached it" in left.reason
    assert gated.reason == ""


def test_in_place_the_model_itself_has_gates_and_loses_them() -> None:
    model = mlp()
    assert ns.sparsify(model, "wina", 0.5, X, inplace=True) is model
    assert isinstance(model[0], Gated)
    assert ns.densify(model, inplace=True) is model
    assert isinstance(model[0], nn.Linear)
    assert not hasattr(model, "sparsification")


def test_a_single_layer_becomes_a_gated_one_and_itself_again() -> None:
    layer = fill(nn.Linear(12, 3))
    sparse = ns.sparsify(layer, "teal", 0.5, X)
    assert isinstance(sparse, Gated)
    assert isinstance(ns.densify(sparse), nn.Linear)
    with pytest.raises(ConfigError, match="cannot be changed in place"):
        ns.sparsify(layer, "teal", 0.5, X, inplace=True)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("tael", 0.5, X), "did you mean 'teal'"),
        (("teal", 1.0, X), "sparsify.sparsity: sparsity|must be a finite number"),
        (("teal", {"7": 0.5}, X), "'7' names no layer"),
        (("teal", 0.5, X * math.nan), "must be finite"),
        (("teal", 0.5, []), "at least one sample"),
    ],
)
def test_what_does_not_fit_is_refused_and_the_model_is_unchanged(arguments: Any, message: str) -> None:
    model = mlp()
    with pytest.raises(ConfigError, match=message):
        ns.sparsify(model, *arguments, inplace=True)
    assert not gated_layers(model)


def test_what_there_is_nothing_of_is_refused() -> None:
    sparse = ns.sparsify(mlp(), "teal", 0.5, X)
    with pytest.raises(ConfigError, match="has gates already"):
        ns.sparsify(sparse, "teal", 0.5, X)
    for call in (ns.densify, fold_centres):
        with pytest.raises(ConfigError, match="no gates"):
            call(mlp())
    with pytest.raises(ConfigError, match="a product"):
        ns.sparsify(nn.ReLU(), "teal", 0.5, X)
    with pytest.raises(ConfigError, match="an activation"):
        ns.sparsify(nn.Linear(12, 2), "cats", 0.5, X)
    with pytest.raises(ConfigError, match="chess has thresholds of channels"):
        ns.sparsify(mlp(), "chess", 0.5, X, select="vector")
    with pytest.raises(ConfigError, match="names no layer"):
        ns.sparsify(mlp(), "teal", 0.5, X, layers="head*")


# --- models that write into what they are given, share, name arguments, or have channels before positions --------------------------------


@pytest.mark.parametrize("first", [False, True])
def test_activations_in_place_are_reported_like_any_other(first: bool) -> None:
    x = normal(64, 8)
    before = x.clone()
    reports = []
    for inplace in (False, True):
        act = [nn.SiLU(inplace)] if first else []
        model = fill(nn.Sequential(*act, nn.Linear(8, 16), nn.SiLU(inplace), nn.Linear(16, 3)))
        reports.append(ns.sparsify(model, "cats", 0.5, x).sparsification)
    assert reports[0] == reports[1]
    assert reports[0].layers[0].reached == pytest.approx(0.5, abs=0.01)
    assert torch.equal(x, before)


def test_what_is_no_number_stays_none_and_is_not_hidden() -> None:
    sparse = ns.sparsify(fill(nn.Linear(12, 3)), "teal", 0.0, X)
    x = X[:2].clone()
    x[0, 3] = math.nan
    assert torch.equal(sparse.gate(x).isnan(), x.isnan())
    assert bool(sparse(x)[0].isnan().all())


def test_vectors_behind_an_activation_are_those_of_channels() -> None:
    image = normal(16, 1, 6, 6)
    model = fill(nn.Sequential(nn.Conv2d(1, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(128, 6), nn.GELU()))
    sparse: Any = ns.sparsify(model, "cats", 0.5, image, select="vector")
    assert [sparse[at].gate.axis for at in (1, 4)] == [-3, -1]
    kept = sparse[1].gate.keeps(model[:2](image))
    assert bool((kept.sum(1) == 4).all())
    tokens: Any = ns.sparsify(fill(nn.Sequential(nn.Linear(12, 8), nn.ReLU())), "cats", 0.5, X.reshape(32, 8, 12), select="vector")
    assert tokens[1].gate.axis == -1
    unknown = nn.Sequential(nn.ReLU(), nn.Conv2d(1, 2, 3))
    with pytest.raises(ConfigError, match="a layer before it tells"):
        ns.sparsify(unknown, "cats", 0.5, image, select="vector")
    found: Any = ns.sparsify(unknown, "cats", 0.5, image)
    assert found.sparsification.layers[0].reached > 0.4


def test_an_activation_that_is_used_for_layers_of_several_widths_has_one_gate() -> None:
    act = nn.GELU()
    sparse = ns.sparsify(fill(nn.Sequential(nn.Linear(12, 24), act, nn.Linear(24, 20), act)), "cats", 0.5, X)
    assert sparse.sparsification.layers[0].reached == pytest.approx(0.5, abs=0.02)


class _Named(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a = fill(nn.Linear(12, 3))

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.a(input=x)
        return found


def test_layers_that_are_called_by_name_have_gates() -> None:
    named: Any = ns.sparsify(_Named(), "teal", 0.5, X)
    plain: Any = ns.sparsify(fill(nn.Sequential(nn.Linear(12, 3))), "teal", 0.5, X)
    assert torch.equal(named(X), plain(X))
    assert named.sparsification.layers[0].reached == plain.sparsification.layers[0].reached


def test_shares_for_layers_that_are_not_chosen_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"sparsify.sparsity: must name a layer that sparsify.layers names too, got \['2'\] and '0'"):
        ns.sparsify(mlp(), "teal", {"2": 0.5}, X, layers="0")


def test_what_is_no_model_stream_or_fitting_input_is_refused_without_a_traceback() -> None:
    bad: Any = 3
    for call in (lambda: ns.sparsify(bad, "teal", 0.5, X), lambda: ns.densify(bad), lambda: fold_centres(bad)):
        with pytest.raises(ConfigError, match=r"model must be a torch.nn.Module, got int"):
            call()
    with pytest.raises(ConfigError, match=r"stream must be a neurosim.random.Stream, got int"):
        ns.sparsify(mlp(), "teal", 0.5, X, stream=bad)
    with pytest.raises(DataError, match=r"sparsify: the model must take a batch of shape \(4, 5\)"):
        ns.sparsify(mlp(), "teal", 0.5, normal(4, 5))
