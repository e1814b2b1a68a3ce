"""Simulated hardware: stages of the signal chain, chains, device profiles."""

from neurosim.hardware import stages as stages  # registers what this package ships
