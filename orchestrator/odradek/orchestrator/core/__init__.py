"""The pure middle of the orchestrator: no I/O, no clock, no broker.

Time, records and code come in; records and effects go out.
"""
