"""Simulated hardware: stages of the signal chain, chains, device profiles."""

from neurosim.hardware import parasitics as parasitics
from neurosim.hardware import ranges as ranges
from neurosim.hardware import stages as stages  # registers what this package ships
