"""The reusable parts of a training program; ``training/classify.py`` shows them at work."""

from neurosim.training.metrics import METRICS as METRICS
from neurosim.training.metrics import Metric as Metric
