"""Numbers as spike trains, by name.

An encoder takes ``(batch, *units)`` and returns ``(time, batch, *units)``, what neurons read; :func:`delta` takes a sequence. Random ones
draw from the stream that every call is given: ``encoder(x, stream=...)``. Every encoder is a function and a class of the same name with
capitals, which keeps its settings; an entry of the registry is such a class. One of your own derives from :class:`Encoder` and is
registered with ``@neurosim.ENCODERS.register("my_encoder")``.
"""

from neurosim.encoding.base import ENCODERS as ENCODERS
from neurosim.encoding.base import Encoder as Encoder
from neurosim.encoding.constant import Constant as Constant
from neurosim.encoding.constant import constant as constant
from neurosim.encoding.delta import Delta as Delta
from neurosim.encoding.delta import delta as delta
from neurosim.encoding.latency import Latency as Latency
from neurosim.encoding.latency import RCLatency as RCLatency
from neurosim.encoding.latency import latency as latency
from neurosim.encoding.latency import rc_latency as rc_latency
from neurosim.encoding.phase import Phase as Phase
from neurosim.encoding.phase import phase as phase
from neurosim.encoding.population import Population as Population
from neurosim.encoding.population import population as population
from neurosim.encoding.population import receptive_fields as receptive_fields
from neurosim.encoding.rate import Poisson as Poisson
from neurosim.encoding.rate import Rate as Rate
from neurosim.encoding.rate import poisson as poisson
from neurosim.encoding.rate import rate as rate
