"""Data."""

from __future__ import annotations

from typing import Final

from neurosim.citations.work import Citation, work

WORKS: Final[dict[str, Citation]] = {
    "digits": work(
        "data.kind: digits",
        "misc",
        "alpaydin1998optical",
        author="Alpaydin, E. and Kaynak, C.",
        title="Optical Recognition of Handwritten Digits",
        howpublished="UCI Machine Learning Repository",
        year="1998",
        doi="10.24432/C50P49",
    ),
    "mnist": work(
        "the MNIST images",
        "article",
        "lecun1998gradient",
        author="LeCun, Yann and Bottou, L{\\'e}on and Bengio, Yoshua and Haffner, Patrick",
        title="Gradient-based learning applied to document recognition",
        journal="Proceedings of the IEEE",
        volume="86",
        number="11",
        pages="2278--2324",
        year="1998",
        doi="10.1109/5.726791",
    ),
    "fashion_mnist": work(
        "the Fashion-MNIST images",
        "misc",
        "xiao2017fashion",
        author="Xiao, Han and Rasul, Kashif and Vollgraf, Roland",
        title="{Fashion-MNIST}: a Novel Image Dataset for Benchmarking Machine Learning Algorithms",
        year="2017",
        eprint="1708.07747",
        archiveprefix="arXiv",
    ),
    "cifar10": work(
        "the CIFAR-10 images",
        "techreport",
        "krizhevsky2009learning",
        author="Krizhevsky, Alex",
        title="Learning Multiple Layers of Features from Tiny Images",
        institution="University of Toronto",
        year="2009",
    ),
    "heidelberg_spiking": work(
        "data.kind: shd and ssc",
        "article",
        "cramer2022heidelberg",
        author="Cramer, Benjamin and Stradmann, Yannik and Schemmel, Johannes and Zenke, Friedemann",
        title="The {Heidelberg} Spiking Data Sets for the Systematic Evaluation of Spiking Neural Networks",
        journal="IEEE Transactions on Neural Networks and Learning Systems",
        volume="33",
        number="7",
        pages="2744--2757",
        year="2022",
        doi="10.1109/TNNLS.2020.3044364",
    ),
}
