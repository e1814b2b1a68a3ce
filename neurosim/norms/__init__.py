"""Norms: layers that bring their input to a scale."""

from neurosim.norms.base import NORMS as NORMS
from neurosim.norms.base import Affine as Affine
from neurosim.norms.base import Cost as Cost
from neurosim.norms.base import Norm as Norm
from neurosim.norms.base import Operations as Operations
from neurosim.norms.over_time import BatchNormOverTime as BatchNormOverTime
from neurosim.norms.over_time import Statistics as Statistics
from neurosim.norms.over_time import ThresholdDependentBatchNorm as ThresholdDependentBatchNorm
from neurosim.norms.per_step import BatchNormThroughTime as BatchNormThroughTime
from neurosim.norms.per_step import Elapsed as Elapsed
from neurosim.norms.per_step import TemporalEffectiveBatchNorm as TemporalEffectiveBatchNorm
from neurosim.norms.time_norm import TimeNorm as TimeNorm
