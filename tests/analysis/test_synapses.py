"""Operations that data really cause, against counting them one by one."""

from __future__ import annotations

import itertools
import json
import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import neurosim as ns
from neurosim.analysis import synaptic_operations
from neurosim.errors import ConfigError, DataError
from neurosim.neurons.recurrent_lif import LinearToOthers
from neurosim.nn import DeltaActivation, SpikingSequential, delta_inference
from neurosim.sparsity import fold_centres


def thinned(*shape: int, zeros: float = 0.5, name: str = "x") -> Tensor:
    """Numbers of which about such a share is 0."""
    source = ns.random.stream(6, name)
    kept = source.uniform(shape, like=torch.empty(0)) > zeros
    return source.normal(shape, like=torch.empty(0)) * kept


def one_by_one(layer: Any, x: Tensor, out: torch.Size) -> int:
    """Products of a 2-d convolution with a number that is not 0, in loops over outputs, inputs of their group, and taps."""
    transposed = isinstance(layer, nn.ConvTranspose2d)
    count, inputs, outputs = 0, layer.in_channels // layer.groups, layer.out_channels // layer.groups
    (sy, sx), (py, px), (dy, dx), (ky, kx) = layer.stride, layer.padding, layer.dilation, layer.kernel_size
    for n, group, i, _ in itertools.product(range(len(x)), range(layer.groups), range(inputs), range(outputs)):
        plane = x[n, group * inputs + i]
        for v, u in itertools.product(range(ky), range(kx)):
            if transposed:  # an input adds to the output at its place times the stride
                for row, column in itertools.product(range(x.shape[2]), range(x.shape[3])):
                    inside = 0 <= row * sy - py + v * dy < out[2] and 0 <= column * sx - px + u * dx < out[3]
                    count += inside and bool(plane[row, column] != 0)
                continue
            for row, column in itertools.product(range(out[2]), range(out[3])):
                a, b = row * sy - py + v * dy, column * sx - px + u * dx
                count += 0 <= a < x.shape[2] and 0 <= b < x.shape[3] and bool(plane[a, b] != 0)
    return count


@pytest.mark.parametrize("kind", [nn.Conv2d, nn.ConvTranspose2d])
@pytest.mark.parametrize(
    "how",
    [
        {},
        {"stride": 2},
        {"stride": (3, 2), "padding": (1, 0)},
        {"padding": 1, "dilation": 2},
        {"groups": 2, "padding": (2, 1)},
        {"stride": 2, "padding": 1, "dilation": (1, 2), "groups": 2},
    ],
    ids=str,
)
def test_a_convolution_is_counted_as_loops_count_it(kind: Any, how: dict[str, Any]) -> None:
    layer, x = kind(4, 6, (3, 2), **how), thinned(2, 4, 7, 6)
    assert synaptic_operations(layer, x) == one_by_one(layer, x, layer(x).shape) > 0


@pytest.mark.parametrize(
    ("layer", "shape"),
    [
        (nn.Linear(5, 7), (3, 2, 5)),
        (LinearToOthers(5), (4, 5)),
        (nn.Conv1d(2, 3, 3, padding="same", dilation=3, padding_mode="circular"), (2, 2, 8)),
        (nn.Conv1d(2, 4, 4, stride=3, padding=2, groups=2, padding_mode="reflect"), (2, 2, 8)),
        (nn.Conv2d(2, 3, 3, stride=2, padding=1, padding_mode="replicate"), (2, 5, 4)),
        (nn.Conv3d(2, 4, 2, stride=(1, 2, 2), padding=1, groups=2), (2, 2, 3, 4, 3)),
        (nn.ConvTranspose1d(2, 4, 3, stride=2, padding=1, output_padding=1, groups=2), (3, 2, 4)),
        (nn.ConvTranspose3d(2, 3, 2, stride=2, padding=1), (1, 2, 3, 2, 3)),
    ],
    ids=str,
)
def test_the_fan_out_of_an_input_is_what_a_weight_of_ones_makes_of_it(layer: Any, shape: tuple[int, ...]) -> None:
    """The derivative of the sum of all outputs, if all weights are 1, is the number of weights that an input meets."""
    nn.init.ones_(layer.weight)
    x = thinned(*shape).requires_grad_()
    layer(x).sum().backward()
    assert x.grad is not None
    assert synaptic_operations(layer, x) == int(x.grad[x != 0].sum()) > 0


def test_a_transposed_convolution_that_is_asked_for_a_size_reaches_so_far() -> None:
    class Grown(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.up = nn.ConvTranspose2d(2, 3, 3, stride=2, padding=1)

        def forward(self, x: Tensor) -> Tensor:
            y: Tensor = self.up(x, output_size=(8, 8))
            return y

    model, x = Grown(), thinned(2, 2, 4, 4)
    wanted = one_by_one(model.up, x, torch.Size((2, 3, 8, 8)))
    assert synaptic_operations(model.up, x, (8, 8)) == wanted > synaptic_operations(model.up, x)
    assert ns.synops(model, x).operations == wanted / 2


def network() -> SpikingSequential:
    torch.manual_seed(3)
    return SpikingSequential(
        *(nn.Conv2d(2, 3, 3, stride=2, padding=1), ns.LIF(5e-3, 1e-3, v_threshold=0.2), nn.Flatten()),
        *(nn.Linear(27, 9), ns.neurons.RLIF(9, 5e-3, 1e-3, v_threshold=0.1), nn.Linear(9, 4), ns.LI(5e-3, 1e-3)),
    )


def test_operations_of_a_spiking_network_are_its_spikes_times_their_fan_out() -> None:
    net = network()
    x = (thinned(12, 5, 2, 6, 6) != 0).float()  # what comes in spikes too
    found = ns.synops(net, x)
    with ns.record(net) as recording:
        net(x)
    first, second = recording["1"].spikes, recording["4"].spikes
    rows = {layer.path: layer for layer in found.layers}
    assert [*rows] == ["0", "3", "4.connection", "5"]
    assert rows["3"].operations == pytest.approx(float(first.sum()) * 9 / 5)
    assert rows["5"].operations == pytest.approx(float(second.sum()) * 4 / 5)
    assert rows["4.connection"].operations == pytest.approx(float(second[:-1].sum()) * 9 / 5)  # the last spikes are not sent back any more
    # of the convolution: every second row and column is in one window along that axis, the others in two; the last in one
    windows = torch.tensor([1.0, 2.0, 1.0, 2.0, 1.0, 1.0])
    assert rows["0"].operations == pytest.approx(float((x * windows * windows[:, None]).sum()) * 3 / 5)
    assert rows["3"].dense == 12 * 27 * 9
    assert found.multiplies == 0
    assert found.accumulates == found.operations == pytest.approx(sum(layer.operations for layer in found.layers))
    assert 0 < found.share == found.operations / found.dense < 1


def test_zeros_behind_a_relu_are_skipped_and_graded_numbers_are_multiplied() -> None:
    net: Any = nn.Sequential(nn.Linear(3, 4, bias=False), nn.ReLU(), nn.Linear(4, 10))
    with torch.no_grad():
        net[0].weight.copy_(torch.tensor([[1.0, 0, 0], [-1.0, 0, 0], [0, 1.0, 0], [0, 0, 1.0]]))
    x = torch.tensor([[2.0, 0.0, 0.0], [2.0, 3.0, -1.0]])
    found = ns.synops(net, x)
    first, second = found.layers
    assert (first.dense, first.operations, first.share) == (12, 4 * (1 + 3) / 2, 2 / 3)
    assert (second.dense, second.operations, second.share) == (40, 10 * (1 + 2) / 2, 0.375)
    assert found.accumulates == 0
    assert ns.synops(net, x.sign()).accumulates == found.operations  # 1, 0 and -1, and behind the ReLU 1 and 0


def test_what_a_sparse_model_leaves_out_is_not_counted_once_it_is_zero() -> None:
    torch.manual_seed(0)
    model, x = ns.models.mlp([16, 32, 8], activation="gelu"), thinned(40, 16, zeros=0.0)
    layer = ns.synops(model, x).layers[1]
    assert layer.share == 1
    sparse: Any = ns.sparsify(model, "scap", 0.5, x, layers=layer.path)
    centred, quiet = (ns.synops(one, x).layers[1] for one in (sparse, fold_centres(sparse)))
    assert centred.share == 1  # the centre stands for what is left out, and is not 0
    assert quiet.share == pytest.approx(1 - sparse.sparsification.layers[0].reached)
    assert quiet.dense == layer.dense


def test_changes_of_a_delta_network_are_its_own_operations() -> None:
    torch.manual_seed(1)
    model = SpikingSequential(
        *(DeltaActivation(0.2), nn.Conv2d(1, 4, 3, stride=2, padding=1), nn.ReLU(), DeltaActivation(0.1), nn.Flatten(), nn.Linear(36, 5))
    )
    x = torch.cumsum(0.05 * thinned(9, 3, 1, 6, 6, zeros=0.0), 0)
    deltas = delta_inference(model)
    seen, found = deltas.trace(x), ns.synops(deltas, x)
    assert [layer.path for layer in found.layers] == ["1", "5"]
    for at, layer in enumerate(found.layers):
        assert layer.operations == pytest.approx(float(seen.operations[:, at].sum()) / 3)
        assert layer.dense == pytest.approx(9 * int(seen.dense_operations[at]) / 3)
    assert found.layers[0].accumulates  # frames are so much alike that no level changes by more than one
    told = ns.synops(model, x)  # the same levels, whole at every frame
    assert told.dense == found.dense
    assert int(seen.operations[0, 0]) == synaptic_operations(model[1], model[0](x)[0])  # the first change is the whole frame


def test_models_on_hardware_are_counted_and_left_as_they_were() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(64, 3))
    x, chip = thinned(5, 1, 6, 6), ns.to_analog(net, "photonic_avnn", seed=2)
    before = ns.get_draws(chip)
    found = ns.synops(chip, x)
    assert ns.get_draws(chip) == before
    assert [(layer.path, layer.type) for layer in found.layers] == [("0", "Conv2d"), ("3", "Linear")]
    assert found.layers[0] == ns.synops(net, x).layers[0]
    assert found.dense == pytest.approx(ns.cost(chip, x[:1]).macs)  # nothing is padded
    spiking = ns.to_neuromorphic(network(), "neuromorphic_digital8", seed=1)
    spikes = (thinned(12, 5, 2, 6, 6) != 0).float()
    counted = ns.synops(spiking, spikes)
    with ns.record(spiking) as recording:
        spiking(spikes)
    assert counted.layers[1].operations == pytest.approx(float(recording["1"].spikes.sum()) * 9 / 5)
    assert counted.multiplies == 0


def test_batches_and_layers_can_be_chosen() -> None:
    net, x = network(), thinned(12, 6, 2, 6, 6)
    whole, parts = ns.synops(net, x), ns.synops(net, [(part, "label") for part in x.split([1, 3, 2], 1)])
    assert whole == parts
    assert ns.synops(net, x, ["3", nn.Conv2d]).layers == whole.layers[:2]
    assert net.training


def test_layers_whose_products_nobody_sees_are_named() -> None:
    class Mixed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.rnn, self.attend, self.out = (
                nn.LSTM(4, 4, batch_first=True),
                nn.MultiheadAttention(4, 2, batch_first=True),
                nn.Linear(4, 2),
            )

        def forward(self, x: Tensor) -> Tensor:
            y = self.rnn(x)[0]
            z: Tensor = self.out(self.attend(y, y, y)[0])
            return z

    found = ns.synops(Mixed(), thinned(3, 5, 4))
    assert found.left_out == {"rnn": "LSTM", "attend": "MultiheadAttention"}
    assert [layer.path for layer in found.layers] == ["out"]
    assert str(found).endswith("not counted: rnn (LSTM), attend (MultiheadAttention)")
    block = nn.TransformerEncoderLayer(4, 2, 8, batch_first=True, dropout=0.0)
    assert [layer.path for layer in ns.synops(block, thinned(3, 5, 4)).layers] == ["linear1", "linear2"]


def test_a_report_is_json_and_a_table() -> None:
    found = ns.synops(network(), thinned(12, 5, 2, 6, 6))
    plain = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    assert plain["layers"][1]["path"] == "3"
    assert plain["total"]["operations"] == found.operations
    head, columns, first, *_ = str(found).splitlines()
    assert head.startswith("5 samples: ")
    assert columns.split() == ["layer", "type", "dense", "operations", "share", "kind"]
    assert first.split()[:2] == ["0", "Conv2d"]
    assert first.split()[-1] == "MAC"
    assert not math.isnan(ns.synops(nn.Conv2d(1, 1, 3, stride=9), torch.zeros(1, 1, 3, 3)).share)


def test_messages_say_what_is_missing() -> None:
    class Unused(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a = nn.Linear(2, 2)

        def forward(self, x: Tensor) -> Tensor:
            return x

    x = torch.zeros(3, 2)
    for call, kind, message in [
        (lambda: synaptic_operations(nn.ReLU(), x), ConfigError, "must be a linear layer or a convolution, got ReLU"),
        (lambda: synaptic_operations(nn.Linear(3, 2), x), ConfigError, r"must have 3 channels on axis -1, got shape \(3, 2\)"),
        (lambda: synaptic_operations(nn.Conv1d(4, 2, 1), x), ConfigError, r"must have 4 channels on axis -2, got shape \(3, 2\)"),
        (lambda: ns.synops(ns.chips(ns.to_analog(nn.Linear(2, 2), "ideal", seed=0), 2), x), ConfigError, "got several together"),
        (lambda: ns.synops(nn.ReLU(), x), ConfigError, "must have a linear layer or a convolution"),
        (lambda: ns.synops(nn.Linear(2, 2), x, "7"), ConfigError, "'7' names no linear layer or convolution"),
        (lambda: ns.synops(Unused(), x), ConfigError, "runs none of the layers a"),
        (lambda: ns.synops(nn.Linear(2, 2), []), DataError, "at least one sample"),
        (lambda: ns.synops(nn.Linear(3, 2), x), DataError, r"must take a batch of shape \(3, 2\)"),
    ]:
        with pytest.raises(kind, match=message):
            call()
