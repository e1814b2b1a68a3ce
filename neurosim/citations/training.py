"""Optimisers and what goes with them."""

from __future__ import annotations

from typing import Final

from neurosim.citations.work import Citation, work

WORKS: Final[dict[str, Citation]] = {
    "adam": work(
        "train.optimizer.kind: adam",
        "inproceedings",
        "kingma2015adam",
        author="Kingma, Diederik P. and Ba, Jimmy",
        title="Adam: A Method for Stochastic Optimization",
        booktitle="International Conference on Learning Representations",
        year="2015",
        eprint="1412.6980",
        archiveprefix="arXiv",
    ),
    "adamw": work(
        "train.optimizer.kind: adamw",
        "inproceedings",
        "loshchilov2019decoupled",
        author="Loshchilov, Ilya and Hutter, Frank",
        title="Decoupled Weight Decay Regularization",
        booktitle="International Conference on Learning Representations",
        year="2019",
        eprint="1711.05101",
        archiveprefix="arXiv",
    ),
    "cosine_schedule": work(
        "train.scheduler.kind: cosine",
        "inproceedings",
        "loshchilov2017sgdr",
        author="Loshchilov, Ilya and Hutter, Frank",
        title="{SGDR}: Stochastic Gradient Descent with Warm Restarts",
        booktitle="International Conference on Learning Representations",
        year="2017",
        eprint="1608.03983",
        archiveprefix="arXiv",
    ),
    "gradient_clipping": work(
        "train.clip_grad_norm",
        "inproceedings",
        "pascanu2013difficulty",
        author="Pascanu, Razvan and Mikolov, Tomas and Bengio, Yoshua",
        title="On the difficulty of training recurrent neural networks",
        booktitle="International Conference on Machine Learning",
        pages="1310--1318",
        year="2013",
    ),
    "mixed_precision": work(
        "train.precision: fp16",
        "inproceedings",
        "micikevicius2018mixed",
        author="Micikevicius, Paulius and others",
        title="Mixed Precision Training",
        booktitle="International Conference on Learning Representations",
        year="2018",
        eprint="1710.03740",
        archiveprefix="arXiv",
    ),
    "label_smoothing": work(
        "train.label_smoothing",
        "inproceedings",
        "szegedy2016rethinking",
        author="Szegedy, Christian and Vanhoucke, Vincent and Ioffe, Sergey and Shlens, Jon and Wojna, Zbigniew",
        title="Rethinking the Inception Architecture for Computer Vision",
        booktitle="IEEE Conference on Computer Vision and Pattern Recognition",
        pages="2818--2826",
        year="2016",
        doi="10.1109/CVPR.2016.308",
    ),
}
