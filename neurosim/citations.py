"""What to cite when work rests on a method of this package, as BibTeX.

>>> print(cite("philox"))
@inproceedings{salmon2011parallel,
  author = {Salmon, John K. and Moraes, Mark A. and Dror, Ron O. and Shaw, David E.},
  title = {Parallel Random Numbers: As Easy as 1, 2, 3},
  booktitle = {Proceedings of 2011 International Conference for High Performance Computing, Networking, Storage and Analysis (SC '11)},
  pages = {1--12},
  year = {2011},
  doi = {10.1145/2063384.2063405},
}
"""

from __future__ import annotations

from typing import NamedTuple

from neurosim.registry import Registry


class Citation(NamedTuple):
    """One published work and what it is cited for."""

    why: str  #: what of this package rests on it, in a few words
    kind: str  #: BibTeX type: ``article``, ``inproceedings``, …
    key: str  #: BibTeX key
    fields: dict[str, str]  #: BibTeX fields, in the order they are written

    @property
    def bibtex(self) -> str:
        """The entry as BibTeX reads it."""
        lines = [f"  {name} = {{{value}}}," for name, value in self.fields.items()]
        return "\n".join([f"@{self.kind}{{{self.key},", *lines, "}"])


CITATIONS: Registry[Citation] = Registry("citation")


def cite(*names: str) -> str:
    """BibTeX entries of the named methods, in that order; of all when none is named.

    Args:
        names: Names in :data:`CITATIONS`; the command ``neurosim cite`` lists them.

    Raises:
        ConfigError: A name is unknown.
    """
    return "\n\n".join(CITATIONS[name].bibtex for name in names or CITATIONS)


def _work(name: str, why: str, kind: str, key: str, **fields: str) -> None:
    CITATIONS.add(name, Citation(why, kind, key, fields))


_work(
    "analogvnn",
    "the photonic chain: normalisation, reduced precision and leakage noise",
    "article",
    "shah2023analogvnn",
    author="Shah, Vivswan and Youngblood, Nathan",
    title="{AnalogVNN}: A fully modular framework for modeling and optimizing photonic neural networks",
    journal="APL Machine Learning",
    volume="1",
    number="2",
    pages="026116",
    year="2023",
    doi="10.1063/5.0134156",
)
_work(
    "philox",
    "every random number of the simulated hardware",
    "inproceedings",
    "salmon2011parallel",
    author="Salmon, John K. and Moraes, Mark A. and Dror, Ron O. and Shaw, David E.",
    title="Parallel Random Numbers: As Easy as 1, 2, 3",
    booktitle="Proceedings of 2011 International Conference for High Performance Computing, Networking, Storage and Analysis (SC '11)",
    pages="1--12",
    year="2011",
    doi="10.1145/2063384.2063405",
)
_work(
    "box_muller",
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
)
_work(
    "straight_through",
    "gradients through quantisers",
    "misc",
    "bengio2013estimating",
    author="Bengio, Yoshua and L{\\'e}onard, Nicholas and Courville, Aaron",
    title="Estimating or Propagating Gradients Through Stochastic Neurons for Conditional Computation",
    year="2013",
    eprint="1308.3432",
    archiveprefix="arXiv",
)
_work(
    "pact",
    "clamps with learned limits",
    "misc",
    "choi2018pact",
    author="Choi, Jungwook and Wang, Zhuo and Venkataramani, Swagath and Chuang, Pierce I-Jen and Srinivasan, Vijayalakshmi "
    "and Gopalakrishnan, Kailash",
    title="{PACT}: Parameterized Clipping Activation for Quantized Neural Networks",
    year="2018",
    eprint="1805.06085",
    archiveprefix="arXiv",
)
_work(
    "pytorch",
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
)
_work(
    "adam",
    "train.optimizer.kind: adam",
    "inproceedings",
    "kingma2015adam",
    author="Kingma, Diederik P. and Ba, Jimmy",
    title="Adam: A Method for Stochastic Optimization",
    booktitle="International Conference on Learning Representations",
    year="2015",
    eprint="1412.6980",
    archiveprefix="arXiv",
)
_work(
    "adamw",
    "train.optimizer.kind: adamw",
    "inproceedings",
    "loshchilov2019decoupled",
    author="Loshchilov, Ilya and Hutter, Frank",
    title="Decoupled Weight Decay Regularization",
    booktitle="International Conference on Learning Representations",
    year="2019",
    eprint="1711.05101",
    archiveprefix="arXiv",
)
_work(
    "cosine_schedule",
    "train.scheduler.kind: cosine",
    "inproceedings",
    "loshchilov2017sgdr",
    author="Loshchilov, Ilya and Hutter, Frank",
    title="{SGDR}: Stochastic Gradient Descent with Warm Restarts",
    booktitle="International Conference on Learning Representations",
    year="2017",
    eprint="1608.03983",
    archiveprefix="arXiv",
)
_work(
    "gradient_clipping",
    "train.clip_grad_norm",
    "inproceedings",
    "pascanu2013difficulty",
    author="Pascanu, Razvan and Mikolov, Tomas and Bengio, Yoshua",
    title="On the difficulty of training recurrent neural networks",
    booktitle="International Conference on Machine Learning",
    pages="1310--1318",
    year="2013",
)
_work(
    "mixed_precision",
    "train.precision: fp16",
    "inproceedings",
    "micikevicius2018mixed",
    author="Micikevicius, Paulius and others",
    title="Mixed Precision Training",
    booktitle="International Conference on Learning Representations",
    year="2018",
    eprint="1710.03740",
    archiveprefix="arXiv",
)
_work(
    "label_smoothing",
    "train.label_smoothing",
    "inproceedings",
    "szegedy2016rethinking",
    author="Szegedy, Christian and Vanhoucke, Vincent and Ioffe, Sergey and Shlens, Jon and Wojna, Zbigniew",
    title="Rethinking the Inception Architecture for Computer Vision",
    booktitle="IEEE Conference on Computer Vision and Pattern Recognition",
    pages="2818--2826",
    year="2016",
    doi="10.1109/CVPR.2016.308",
)
_work(
    "nir",
    "names, units and equations of the spiking neurons",
    "article",
    "pedersen2024neuromorphic",
    author="Pedersen, Jens E. and Abreu, Steven and Jobst, Matthias and Lenz, Gregor and Fra, Vittorio and Bauer, Felix Christian "
    "and Muir, Dylan Richard and Zhou, Peng and Vogginger, Bernhard and Heckel, Kade and Urgese, Gianvito and Shankar, Sadasivan "
    "and Stewart, Terrence C. and Sheik, Sadique and Eshraghian, Jason K.",
    title="Neuromorphic intermediate representation: A unified instruction set for interoperable brain-inspired computing",
    journal="Nature Communications",
    volume="15",
    pages="8122",
    year="2024",
    doi="10.1038/s41467-024-52259-9",
)
_work(
    "heidelberg_spiking",
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
)

_work(
    "surrogate_gradients",
    "gradients through spikes",
    "article",
    "neftci2019surrogate",
    author="Neftci, Emre O. and Mostafa, Hesham and Zenke, Friedemann",
    title="Surrogate Gradient Learning in Spiking Neural Networks: Bringing the Power of Gradient-Based Optimization to Spiking Neural "
    "Networks",
    journal="IEEE Signal Processing Magazine",
    volume="36",
    number="6",
    pages="51--63",
    year="2019",
    doi="10.1109/MSP.2019.2931595",
)
_work(
    "learned_time_constants",
    "neurons that learn tau_mem; the arctangent surrogate",
    "inproceedings",
    "fang2021incorporating",
    author="Fang, Wei and Yu, Zhaofei and Chen, Yanqi and Masquelier, Timoth{\\'e}e and Huang, Tiejun and Tian, Yonghong",
    title="Incorporating Learnable Membrane Time Constant to Enhance Learning of Spiking Neural Networks",
    booktitle="IEEE/CVF International Conference on Computer Vision",
    pages="2661--2671",
    year="2021",
    doi="10.1109/ICCV48922.2021.00266",
)
_work(
    "tdbn",
    "batch norm to the scale of the threshold",
    "inproceedings",
    "zheng2021going",
    author="Zheng, Hanle and Wu, Yujie and Deng, Lei and Hu, Yifan and Li, Guoqi",
    title="Going Deeper With Directly-Trained Larger Spiking Neural Networks",
    booktitle="Proceedings of the AAAI Conference on Artificial Intelligence",
    volume="35",
    pages="11062--11070",
    year="2021",
    eprint="2011.05280",
    archiveprefix="arXiv",
)
_work(
    "bntt",
    "batch norm through time",
    "article",
    "kim2021revisiting",
    author="Kim, Youngeun and Panda, Priyadarshini",
    title="Revisiting Batch Normalization for Training Low-Latency Deep Spiking Neural Networks From Scratch",
    journal="Frontiers in Neuroscience",
    volume="15",
    pages="773954",
    year="2021",
    doi="10.3389/fnins.2021.773954",
)
_work(
    "tebn",
    "temporal effective batch norm",
    "inproceedings",
    "duan2022temporal",
    author="Duan, Chaoteng and Ding, Jianhao and Chen, Shiyan and Yu, Zhaofei and Huang, Tiejun",
    title="Temporal Effective Batch Normalization in Spiking Neural Networks",
    booktitle="Advances in Neural Information Processing Systems",
    volume="35",
    pages="34377--34390",
    year="2022",
)
_work(
    "mpbn",
    "the norm of the membrane, and its folding into thresholds",
    "inproceedings",
    "guo2023membrane",
    author="Guo, Yufei and Zhang, Yuhan and Chen, Yuanpei and Peng, Weihang and Liu, Xiaode and Zhang, Liwen and Huang, Xuhui and Ma, Zhe",
    title="Membrane Potential Batch Normalization for Spiking Neural Networks",
    booktitle="Proceedings of the IEEE/CVF International Conference on Computer Vision (ICCV)",
    pages="19420--19430",
    year="2023",
    eprint="2308.08359",
    archiveprefix="arXiv",
)
_work(
    "wilson",
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
)
_work(
    "bca_bootstrap",
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
)
_work(
    "mover",
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
)
_work(
    "deepeisnn",
    "excitatory-inhibitory layers, E-I Init and E-I Prop",
    "inproceedings",
    "liu2026training",
    author="Liu, Peiyu and Ding, Jianhao and Yu, Zhaofei",
    title="Training Deep Normalization-Free Spiking Neural Networks with Lateral Inhibition",
    booktitle="International Conference on Learning Representations",
    year="2026",
    eprint="2509.23253",
    archiveprefix="arXiv",
)
_work(
    "digits",
    "data.kind: digits",
    "misc",
    "alpaydin1998optical",
    author="Alpaydin, E. and Kaynak, C.",
    title="Optical Recognition of Handwritten Digits",
    howpublished="UCI Machine Learning Repository",
    year="1998",
    doi="10.24432/C50P49",
)
_work(
    "mnist",
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
)
_work(
    "fashion_mnist",
    "the Fashion-MNIST images",
    "misc",
    "xiao2017fashion",
    author="Xiao, Han and Rasul, Kashif and Vollgraf, Roland",
    title="{Fashion-MNIST}: a Novel Image Dataset for Benchmarking Machine Learning Algorithms",
    year="2017",
    eprint="1708.07747",
    archiveprefix="arXiv",
)
_work(
    "cifar10",
    "the CIFAR-10 images",
    "techreport",
    "krizhevsky2009learning",
    author="Krizhevsky, Alex",
    title="Learning Multiple Layers of Features from Tiny Images",
    institution="University of Toronto",
    year="2009",
)
_work(
    "spiking_losses",
    "losses on spike counts and spike times, rate and latency codes",
    "article",
    "eshraghian2023training",
    author="Eshraghian, Jason K. and Ward, Max and Neftci, Emre O. and Wang, Xinxin and Lenz, Gregor and Dwivedi, Girish and "
    "Bennamoun, Mohammed and Jeong, Doo Seok and Lu, Wei D.",
    title="Training Spiking Neural Networks Using Lessons From Deep Learning",
    journal="Proceedings of the IEEE",
    volume="111",
    number="9",
    pages="1016--1054",
    year="2023",
    doi="10.1109/JPROC.2023.3308088",
)
_work(
    "first_spike",
    "cross entropy of first-spike times",
    "article",
    "mostafa2018supervised",
    author="Mostafa, Hesham",
    title="Supervised Learning Based on Temporal Coding in Spiking Neural Networks",
    journal="IEEE Transactions on Neural Networks and Learning Systems",
    volume="29",
    number="7",
    pages="3227--3235",
    year="2018",
    doi="10.1109/TNNLS.2017.2726060",
)
_work(
    "temporal_efficient",
    "cross entropy at every step",
    "inproceedings",
    "deng2022temporal",
    author="Deng, Shikuang and Li, Yuhang and Zhang, Shanghang and Gu, Shi",
    title="Temporal Efficient Training of Spiking Neural Network via Gradient Re-weighting",
    booktitle="International Conference on Learning Representations",
    year="2022",
    eprint="2202.11946",
    archiveprefix="arXiv",
)
_work(
    "rate_bounds",
    "lower and upper bounds of firing rates",
    "article",
    "zenke2021remarkable",
    author="Zenke, Friedemann and Vogels, Tim P.",
    title="The Remarkable Robustness of Surrogate Gradient Learning for Instilling Complex Function in Spiking Neural Networks",
    journal="Neural Computation",
    volume="33",
    number="4",
    pages="899--925",
    year="2021",
    doi="10.1162/neco_a_01367",
)
_work(
    "population_code",
    "receptive fields that encode a value by a row of units",
    "article",
    "bohte2002error",
    author="Bohte, Sander M. and Kok, Joost N. and La Poutr{\\'e}, Han",
    title="Error-backpropagation in temporally encoded networks of spiking neurons",
    journal="Neurocomputing",
    volume="48",
    number="1--4",
    pages="17--37",
    year="2002",
    doi="10.1016/S0925-2312(01)00658-0",
)
_work(
    "delta_activation",
    "the layer that learns to change seldom, and delta inference",
    "misc",
    "yousefzadeh2021training",
    author="Yousefzadeh, Amirreza and Sifalakis, Manolis",
    title="Training for temporal sparsity in deep neural networks, application in video processing",
    year="2021",
    eprint="2107.07305",
    archiveprefix="arXiv",
)
_work(
    "lsq",
    "the gradient of a learned step",
    "inproceedings",
    "esser2020learned",
    author="Esser, Steven K. and McKinstry, Jeffrey L. and Bablani, Deepika and Appuswamy, Rathinakumar and Modha, Dharmendra S.",
    title="Learned Step Size Quantization",
    booktitle="International Conference on Learning Representations (ICLR)",
    year="2020",
    eprint="1902.08153",
    archiveprefix="arXiv",
)
_work(
    "disinhibition",
    "the circuit that learns by a local rule",
    "inproceedings",
    "rossbroich2023disinhibitory",
    author="Rossbroich, Julian and Zenke, Friedemann",
    title="Dis-inhibitory neuronal circuits can control the sign of synaptic plasticity",
    booktitle="Advances in Neural Information Processing Systems 36 (NeurIPS)",
    year="2023",
    eprint="2310.19614",
    archiveprefix="arXiv",
)
_work(
    "assembly",
    "recurrent networks of recurrent networks that contract",
    "inproceedings",
    "kozachkov2022rnns",
    author="Kozachkov, Leo and Ennis, Michaela and Slotine, Jean-Jacques",
    title="{RNNs} of {RNNs}: Recursive Construction of Stable Assemblies of Recurrent Neural Networks",
    booktitle="Advances in Neural Information Processing Systems 35 (NeurIPS)",
    year="2022",
    eprint="2106.08928",
    archiveprefix="arXiv",
)

_work(
    "alif",
    "neurons with an adaptive threshold",
    "article",
    "bellec2020solution",
    author="Bellec, Guillaume and Scherr, Franz and Subramoney, Anand and Hajek, Elias and Salaj, Darjan and Legenstein, Robert"
    " and Maass, Wolfgang",
    title="A solution to the learning dilemma for recurrent networks of spiking neurons",
    journal="Nature Communications",
    volume="11",
    pages="3625",
    year="2020",
    doi="10.1038/s41467-020-17236-y",
)

_work(
    "eif",
    "exponential integrate-and-fire neurons",
    "article",
    "fourcaudtrocme2003spike",
    author="Fourcaud-Trocm{\\'e}, Nicolas and Hansel, David and van Vreeswijk, Carl and Brunel, Nicolas",
    title="How Spike Generation Mechanisms Determine the Neuronal Response to Fluctuating Inputs",
    journal="The Journal of Neuroscience",
    volume="23",
    number="37",
    pages="11628--11640",
    year="2003",
    doi="10.1523/JNEUROSCI.23-37-11628.2003",
)

_work(
    "izhikevich",
    "Izhikevich's neurons",
    "article",
    "izhikevich2003simple",
    author="Izhikevich, Eugene M.",
    title="Simple model of spiking neurons",
    journal="IEEE Transactions on Neural Networks",
    volume="14",
    number="6",
    pages="1569--1572",
    year="2003",
    doi="10.1109/TNN.2003.820440",
)

_work(
    "loihi",
    "the sizes of a generic digital neuromorphic core",
    "article",
    "davies2018loihi",
    author="Davies, Mike and others",
    title="Loihi: A Neuromorphic Manycore Processor with On-Chip Learning",
    journal="IEEE Micro",
    volume="38",
    number="1",
    pages="82--99",
    year="2018",
    doi="10.1109/MM.2018.112130359",
)
_work(
    "bss2",
    "the mixed-signal chip that the profile bss2_spiking follows",
    "article",
    "pehle2022bss2",
    author="Pehle, Christian and others",
    title="The {BrainScaleS-2} Accelerated Neuromorphic System with Hybrid Plasticity",
    journal="Frontiers in Neuroscience",
    volume="16",
    pages="795876",
    year="2022",
    doi="10.3389/fnins.2022.795876",
)
_work(
    "pelgrom",
    "mismatch between devices that were meant to be equal",
    "article",
    "pelgrom1989matching",
    author="Pelgrom, Marcel J. M. and Duinmaijer, Aad C. J. and Welbers, Anton P. G.",
    title="Matching Properties of {MOS} Transistors",
    journal="IEEE Journal of Solid-State Circuits",
    volume="24",
    number="5",
    pages="1433--1439",
    year="1989",
    doi="10.1109/JSSC.1989.572629",
)
_work(
    "microrings",
    "transmission and line shape of ring resonators",
    "article",
    "bogaerts2012silicon",
    author="Bogaerts, Wim and De Heyn, Peter and Van Vaerenbergh, Thomas and De Vos, Katrien and Kumar Selvaraja, Shankar and Claes, Tom "
    "and Dumon, Pieter and Bienstman, Peter and Van Thourhout, Dries and Baets, Roel",
    title="Silicon microring resonators",
    journal="Laser \\& Photonics Reviews",
    volume="6",
    number="1",
    pages="47--73",
    year="2012",
    doi="10.1002/lpor.201100017",
)
_work(
    "ring_weight_banks",
    "weights held by rings on a bus of many wavelengths",
    "article",
    "tait2016microring",
    author="Tait, Alexander N. and Wu, Allie X. and Ferreira de Lima, Thomas and Zhou, Ellen and Shastri, Bhavin J. and Nahmias, "
    "Mitchell A. and Prucnal, Paul R.",
    title="Microring Weight Banks",
    journal="IEEE Journal of Selected Topics in Quantum Electronics",
    volume="22",
    number="6",
    year="2016",
    doi="10.1109/JSTQE.2016.2573583",
)
