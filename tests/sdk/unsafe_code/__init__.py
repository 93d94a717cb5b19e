"""Workflows that do, and only seem to do, what no replay can repeat."""
