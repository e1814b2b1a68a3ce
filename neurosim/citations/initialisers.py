"""First weights."""

from __future__ import annotations

from typing import Final

from neurosim.citations.work import Citation, work

_ICLR: Final = "International Conference on Learning Representations"

WORKS: Final[dict[str, Citation]] = {
    "deep_information": work(
        "weights and biases on the edge of chaos",
        "inproceedings",
        "schoenholz2017deep",
        author="Schoenholz, Samuel S. and Gilmer, Justin and Ganguli, Surya and Sohl-Dickstein, Jascha",
        title="Deep Information Propagation",
        booktitle=_ICLR,
        year="2017",
        eprint="1611.01232",
        archiveprefix="arXiv",
    ),
    "kumar_init": work(
        "weights for activations that are differentiable at 0",
        "misc",
        "kumar2017weight",
        author="Kumar, Siddharth Krishna",
        title="On Weight Initialization in Deep Neural Networks",
        year="2017",
        eprint="1704.08863",
        archiveprefix="arXiv",
    ),
    "lecun_init": work(
        "weights of variance 1/fan-in",
        "incollection",
        "lecun1998efficient",
        author="LeCun, Yann and Bottou, L{\\'e}on and Orr, Genevieve B. and M{\\\"u}ller, Klaus-Robert",
        title="Efficient {BackProp}",
        booktitle="Neural Networks: Tricks of the Trade",
        year="1998",
        doi="10.1007/3-540-49430-8_2",
    ),
    "lsuv": work(
        "weights scaled layer by layer on a batch",
        "inproceedings",
        "mishkin2016all",
        author="Mishkin, Dmytro and Matas, Jiri",
        title="All You Need Is a Good Init",
        booktitle=_ICLR,
        year="2016",
        eprint="1511.06422",
        archiveprefix="arXiv",
    ),
    "orthogonal_init": work(
        "orthonormal weights",
        "inproceedings",
        "saxe2014exact",
        author="Saxe, Andrew M. and McClelland, James L. and Ganguli, Surya",
        title="Exact Solutions to the Nonlinear Dynamics of Learning in Deep Linear Neural Networks",
        booktitle=_ICLR,
        year="2014",
        eprint="1312.6120",
        archiveprefix="arXiv",
    ),
    "shaped_batch": work(
        "batch norms whose gains shrink with depth, and orthogonal weights",
        "inproceedings",
        "meterez2024towards",
        author='Meterez, Alexandru and Joudaki, Amir and Orabona, Francesco and Immer, Alexander and R{\\"a}tsch, Gunnar and '
        "Daneshmand, Hadi",
        title="Towards Training Without Depth Limits: Batch Normalization Without Gradient Explosion",
        booktitle=_ICLR,
        year="2024",
        eprint="2310.02012",
        archiveprefix="arXiv",
    ),
    "vi3nr": work(
        "weights that preserve variance through any activation",
        "inproceedings",
        "koneputugodage2025vi3nr",
        author="Koneputugodage, Chamin Hewa and Ben-Shabat, Yizhak and Ramasinghe, Sameera and Gould, Stephen",
        title="{VI3NR}: Variance Informed Initialization for Implicit Neural Representations",
        booktitle="Proceedings of the IEEE/CVF Conference on Computer Vision and Pattern Recognition (CVPR)",
        year="2025",
        eprint="2504.19270",
        archiveprefix="arXiv",
    ),
    "xavier": work(
        "weights between what signals and what gradients ask",
        "inproceedings",
        "glorot2010understanding",
        author="Glorot, Xavier and Bengio, Yoshua",
        title="Understanding the Difficulty of Training Deep Feedforward Neural Networks",
        booktitle="Proceedings of the Thirteenth International Conference on Artificial Intelligence and Statistics",
        pages="249--256",
        year="2010",
    ),
}
