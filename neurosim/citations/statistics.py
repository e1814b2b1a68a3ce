"""Intervals of the reports."""

from __future__ import annotations

from typing import Final

from neurosim.citations.work import Citation, work

WORKS: Final[dict[str, Citation]] = {
    "wilson": work(
        "the interval of a yield",
        "article",
        "wilson1927probable",
        author="Wilson, Edwin B.",
        title="Probable Inference, the Law of Succession, and Statistical Inference",
        journal="Journal of the American Statistical Association",
        volume="22",
        number="158",
        pages="209--212",
        year="1927",
        doi="10.1080/01621459.1927.10502953",
    ),
    "bca_bootstrap": work(
        "the interval of a mean over chips, where it is skewed",
        "article",
        "efron1987better",
        author="Efron, Bradley",
        title="Better Bootstrap Confidence Intervals",
        journal="Journal of the American Statistical Association",
        volume="82",
        number="397",
        pages="171--185",
        year="1987",
        doi="10.1080/01621459.1987.10478410",
    ),
    "mover": work(
        "the interval of a drop, from those of its two parts",
        "article",
        "zou2008construction",
        author="Zou, G. Y. and Donner, A.",
        title="Construction of confidence limits about effect measures: A general approach",
        journal="Statistics in Medicine",
        volume="27",
        number="10",
        pages="1693--1702",
        year="2008",
        doi="10.1002/sim.3095",
    ),
}
