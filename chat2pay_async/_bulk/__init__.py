"""Runs: items in, outcomes out."""
