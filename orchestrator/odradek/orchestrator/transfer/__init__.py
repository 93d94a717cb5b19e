"""Whole namespaces to files, other clusters and other partition counts; never while they are being served."""
