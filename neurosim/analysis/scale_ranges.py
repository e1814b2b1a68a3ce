"""Scales that are several, one for each output or input of a matrix, from the weights that each is for."""

from __future__ import annotations

from torch import Tensor

from neurosim.analysis.calibration_report import RangeReport
from neurosim.analysis.range_sites import Site
from neurosim.analysis.sample import Method, Sample
from neurosim.errors import ConfigError
from neurosim.hardware.stages.scale import gathered
from neurosim.nn.chain import AnalogChain
from neurosim.nn.quadratures import real_form


def fit_scales(path: str, chain: AnalogChain, site: Site, matrix: Tensor, method: Method, share: float) -> tuple[RangeReport, Tensor]:
    """The values of such scales that suit a matrix.

    Args:
        path: Of the layer.
        chain: Its chain, which is not changed.
        site: The scales.
        matrix: ``(groups, outputs, inputs)``.
        method, share: As in :meth:`neurosim.analysis.sample.Sample.range`.

    Returns:
        The report, whose ranges are those of the largest scale, and the values in the shape of the parameter.

    Raises:
        ConfigError: A weight is not finite.
    """
    value = chain.context(site.slot)[0]["value"].detach()
    each = gathered(real_form(matrix) if matrix.is_complex() else matrix, value, site.spec).float()
    before, found, notes = value.abs().flatten(), [], set()
    for numbers, scale in zip(each, before.tolist(), strict=True):
        sample = Sample()
        sample.add(numbers)
        try:
            (_, high), note = sample.range((-scale, scale), method, share, site.levels)
        except ConfigError as error:
            raise ConfigError(f"calibrate: {path or '(model)'}: {site.slot}: {error}") from None
        found.append(high)
        notes.add(note)
    after = before.new_tensor(found)
    shares = [float((each.abs() > scales.unsqueeze(1)).double().mean()) for scales in (before, after)]
    words = "; ".join([f"{len(after)} scales, {float(after.min()):.3g} to {float(after.max()):.3g}", *sorted(notes - {""})])
    widest = [(-float(scales.max()), float(scales.max())) for scales in (before, after)]
    row = RangeReport(path, site.name, widest[0], widest[1], shares[0], shares[1], float(each.abs().max()), words)
    return row, after.reshape(value.shape)
