"""The stages of the signal chain, one physical effect a file; importing this package registers them."""

from neurosim.hardware.stages.clamp import Clamp as Clamp
from neurosim.hardware.stages.clamp import clamp as clamp
from neurosim.hardware.stages.compensation import Compensation as Compensation
from neurosim.hardware.stages.compensation import compensation as compensation
from neurosim.hardware.stages.converter import Converter as Converter
from neurosim.hardware.stages.drop import Drop as Drop
from neurosim.hardware.stages.drop import drop as drop
from neurosim.hardware.stages.fixed_point import FixedPoint as FixedPoint
from neurosim.hardware.stages.fixed_point import fixed_point as fixed_point
from neurosim.hardware.stages.lp_norm import LpNorm as LpNorm
from neurosim.hardware.stages.lp_norm import lp_norm as lp_norm
from neurosim.hardware.stages.mapping import Mapping as Mapping
from neurosim.hardware.stages.mismatch import Mismatch as Mismatch
from neurosim.hardware.stages.mismatch import mismatched as mismatched
from neurosim.hardware.stages.noise import Noise as Noise
from neurosim.hardware.stages.noise import add_noise as add_noise
from neurosim.hardware.stages.quantize import Quantize as Quantize
from neurosim.hardware.stages.quantize import quantize as quantize
from neurosim.hardware.stages.scale import Scale as Scale
from neurosim.hardware.stages.scale import scale_of as scale_of
from neurosim.hardware.stages.slices import Slices as Slices
from neurosim.hardware.stages.slices import sliced as sliced
from neurosim.hardware.stages.tiles import Tiles as Tiles
from neurosim.hardware.stages.wires import Wires as Wires
from neurosim.hardware.stages.wires import wire_loads as wire_loads
from neurosim.hardware.stages.wires import wired as wired
