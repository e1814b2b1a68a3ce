"""Spiking neurons as layers."""
