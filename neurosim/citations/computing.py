"""What computes: the framework, random numbers, quantisers."""

from __future__ import annotations

from typing import Final

from neurosim.citations.work import Citation, work

WORKS: Final[dict[str, Citation]] = {
    "pytorch": work(
        "the framework all of this runs on",
        "inproceedings",
        "ansel2024pytorch",
        author="Ansel, Jason and others",
        title="{PyTorch} 2: Faster Machine Learning Through Dynamic {Python} Bytecode Transformation and Graph Compilation",
        booktitle="Proceedings of the 29th ACM International Conference on Architectural Support for Programming Languages and Operating "
        "Systems, Volume 2 (ASPLOS '24)",
        pages="929--947",
        year="2024",
        doi="10.1145/3620665.3640366",
    ),
    "philox": work(
        "every random number of the simulated hardware",
        "inproceedings",
        "salmon2011parallel",
        author="Salmon, John K. and Moraes, Mark A. and Dror, Ron O. and Shaw, David E.",
        title="Parallel Random Numbers: As Easy as 1, 2, 3",
        booktitle="Proceedings of 2011 International Conference for High Performance Computing, Networking, Storage and Analysis (SC '11)",
        pages="1--12",
        year="2011",
        doi="10.1145/2063384.2063405",
    ),
    "box_muller": work(
        "normal deviates from uniform ones",
        "article",
        "box1958note",
        author="Box, G. E. P. and Muller, Mervin E.",
        title="A Note on the Generation of Random Normal Deviates",
        journal="The Annals of Mathematical Statistics",
        volume="29",
        number="2",
        pages="610--611",
        year="1958",
        doi="10.1214/aoms/1177706645",
    ),
    "straight_through": work(
        "gradients through quantisers",
        "misc",
        "bengio2013estimating",
        author="Bengio, Yoshua and L{\\'e}onard, Nicholas and Courville, Aaron",
        title="Estimating or Propagating Gradients Through Stochastic Neurons for Conditional Computation",
        year="2013",
        eprint="1308.3432",
        archiveprefix="arXiv",
    ),
    "pact": work(
        "clamps with learned limits",
        "misc",
        "choi2018pact",
        author="Choi, Jungwook and Wang, Zhuo and Venkataramani, Swagath and Chuang, Pierce I-Jen and Srinivasan, Vijayalakshmi "
        "and Gopalakrishnan, Kailash",
        title="{PACT}: Parameterized Clipping Activation for Quantized Neural Networks",
        year="2018",
        eprint="1805.06085",
        archiveprefix="arXiv",
    ),
    "lsq": work(
        "the gradient of a learned step",
        "inproceedings",
        "esser2020learned",
        author="Esser, Steven K. and McKinstry, Jeffrey L. and Bablani, Deepika and Appuswamy, Rathinakumar and Modha, Dharmendra S.",
        title="Learned Step Size Quantization",
        booktitle="International Conference on Learning Representations (ICLR)",
        year="2020",
        eprint="1902.08153",
        archiveprefix="arXiv",
    ),
}
