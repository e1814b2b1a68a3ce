"""Devices and chips, and how they differ."""

from __future__ import annotations

from typing import Final

from neurosim.citations.work import Citation, work

WORKS: Final[dict[str, Citation]] = {
    "analogvnn": work(
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
    ),
    "loihi": work(
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
    ),
    "bss2": work(
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
    ),
    "pelgrom": work(
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
    ),
    "microrings": work(
        "transmission and line shape of ring resonators",
        "article",
        "bogaerts2012silicon",
        author="Bogaerts, Wim and De Heyn, Peter and Van Vaerenbergh, Thomas and De Vos, Katrien and Kumar Selvaraja, Shankar "
        "and Claes, Tom and Dumon, Pieter and Bienstman, Peter and Van Thourhout, Dries and Baets, Roel",
        title="Silicon microring resonators",
        journal="Laser \\& Photonics Reviews",
        volume="6",
        number="1",
        pages="47--73",
        year="2012",
        doi="10.1002/lpor.201100017",
    ),
    "ring_weight_banks": work(
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
    ),
}
