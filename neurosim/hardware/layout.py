"""How a matrix lies on arrays: tiles, planes of conductances, passes of its inputs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from neurosim.errors import ConversionError
from neurosim.hardware.chain import ChainSpec, LayerSpec
from neurosim.hardware.stage import STAGES
from neurosim.hardware.stages.mapping import Mapping, decoding
from neurosim.hardware.stages.scale import Scale
from neurosim.hardware.stages.slices import Slices
from neurosim.hardware.stages.tiles import Tiles

#: by path: ``input``, ``weight``, ``bias``, ``output``, and ``array``, the matrix (groups, outputs, inputs); empty for neurons. They count
#: real numbers; ``quadratures`` is (2,) where two of these, side by side, are a complex one
Shapes = dict[str, Sequence[int]]


class Layout(NamedTuple):
    """One layer's matrix on its arrays.

    Args:
        groups, outputs, inputs: The matrix: ``outputs × inputs`` for each of the groups.
        tiles: Arrays that the inputs of one output are split over.
        rows: Inputs of one of them; the last may have fewer.
        cells: Cells of one weight.
        planes: Of the cells of one weight, how many outputs are converted by themselves; 1 if currents are subtracted before.
        passes: How often an input is sent.
        extra: Columns beside the outputs, 1 if one measures the offset.
        columns: Arrays that the outputs of one plane of cells are split over.
        whole: Whether one product of the layer's own shape does it: nothing is split.
        quadratures: Numbers that one port of an array carries: 2 where light brings both parts of a complex one, and the array is a complex
            matrix. Outputs, inputs and rows count numbers.
    """

    groups: int
    outputs: int
    inputs: int
    tiles: int
    rows: int
    cells: int
    planes: int
    passes: int
    extra: int
    columns: int
    whole: bool
    quadratures: int = 1

    @property
    def arrays(self) -> int:
        """Physical arrays that the layer takes."""
        return self.tiles * self.columns * self.cells * self.groups

    @property
    def matrix(self) -> tuple[int, int, int]:
        """``(groups, outputs, inputs)`` with the extra columns, in ports: what is programmed."""
        return self.groups, (self.outputs + self.extra) // self.quadratures, self.inputs // self.quadratures

    @property
    def conductances(self) -> tuple[int, int, int, int]:
        """Shape of everything that is programmed, ``(cells, groups, outputs, inputs)``."""
        return self.cells, *self.matrix

    @property
    def readouts(self) -> tuple[int, int, int, int]:
        """Shape of one number for each array that is read, ``(planes, groups, arrays across outputs, arrays along inputs)``."""
        return self.planes, self.groups, self.columns, self.tiles

    @property
    def signals(self) -> tuple[int, int, int, int]:
        """Shape of what reaches the detectors in one pass, ``(tiles, planes, groups, outputs)``."""
        return self.tiles, self.planes, self.groups, self.outputs + self.extra


def layout(spec: ChainSpec, matrix: Sequence[int], channels: int | None = None, quadratures: int = 1) -> Layout:
    """How a layer's matrix lies on the arrays of a chain.

    Args:
        spec: The chain.
        matrix: ``(groups, outputs, inputs)``.
        channels: Outputs of the layer, where it has not one for each row of the matrix: a digital sum makes them.
        quadratures: Numbers of a layer that are one: 2 if it is complex.

    >>> layout(ChainSpec(array={"tiles": {"kind": "tiles", "rows": 128}}), (1, 10, 300)).signals
    (3, 1, 1, 10)
    """
    groups, outputs, inputs = matrix
    array = spec.array
    ports = quadratures if array.mesh is not None and STAGES[array.mesh.kind].coherent else 1
    tile = array.tiles if isinstance(array.tiles, Tiles) else Tiles()
    rows, columns = (None if size is None else size * ports for size in (tile.rows, tile.columns))
    tiles = -(-inputs // rows) if rows is not None else 1
    held = -(-inputs // (tiles * ports)) * ports
    if rows is not None and tiles > 1 and tile.filled:
        held = rows
    mapping = array.mapping if isinstance(array.mapping, Mapping) else None
    cells = mapping.planes if mapping is not None else 1
    planes = cells // 2 if mapping is not None and mapping.scheme == "differential" and mapping.subtract == "analog" else cells
    passes = spec.input.slices.passes if isinstance(spec.input.slices, Slices) else 1
    extra = int(mapping is not None and mapping.correction == "column")
    scale = spec.input.scale
    by_vector = isinstance(scale, Scale) and (scale.per == "vector" or bool(scale.retries))
    offset = mapping is not None and decoding(mapping)[1] != 0  # the sum of the inputs is subtracted
    summed = channels not in (None, groups * outputs)
    ranges = spec.output.ranges is not None or spec.output.scale is not None
    by_input = getattr(spec.weight.scale, "per", None) == "input"
    split = extra or by_vector or by_input or offset or summed or ranges or quadratures > 1
    whole = tiles == planes == passes == 1 and not split
    across = -(-(outputs + extra) // columns) if columns is not None else 1
    return Layout(groups, outputs, inputs, tiles, held, cells, planes, passes, extra, across, whole, ports)


def layout_of(spec: LayerSpec, shapes: Shapes) -> Layout | None:
    """The layout of a layer of those shapes; None if only elementwise stages stand between its weight and its product."""
    if not isinstance(spec, ChainSpec) or not spec.is_array:
        return None
    return layout(spec, shapes["array"], shapes["output"][0], *shapes.get("quadratures", ()))


def features(shapes: Shapes, path: str) -> int:
    """Inputs or outputs of a layer, complex ones counted once; 0 if it has none."""
    return shapes[path][0] // shapes.get("quadratures", (1,))[0] if path in shapes else 0


def scaled(lies: Layout, shapes: Shapes) -> tuple[int, int, int]:
    """``(groups, outputs, inputs)`` that may have digital factors of their own: complex ones counted once."""
    parts = shapes.get("quadratures", (1,))[0]
    return lies.groups, lies.outputs // parts, lies.inputs // parts


def check_fan_in(spec: LayerSpec, shapes: Shapes, path: str) -> None:
    """Raise unless the hardware can sum as many inputs as each output of a layer has.

    Raises:
        ConversionError: It cannot; with the layer's name.
    """
    limit = spec.fan_in if isinstance(spec, ChainSpec) else None
    if limit is None or "array" not in shapes:
        return
    lies = layout_of(spec, shapes)
    inputs = shapes["array"][2] // (1 if lies is None else lies.quadratures)
    if inputs > limit:
        raise ConversionError(f"{path or '(model)'}: each output must have at most {limit} inputs on this hardware, got {inputs}")
