"""Simulated hardware: stages of the signal chain, chains, device profiles."""
