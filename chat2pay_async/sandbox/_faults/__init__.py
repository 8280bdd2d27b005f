"""Faults: plans, draws and spoilt replies."""
