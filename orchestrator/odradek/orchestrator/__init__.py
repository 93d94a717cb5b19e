"""Owns partitions and decides: runs workflow code, writes history, sends tasks, messages and answers."""
