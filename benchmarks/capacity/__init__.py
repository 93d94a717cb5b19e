"""How large a fleet must be: costs are measured on a real broker, a model sizes fleets with them, a simulation runs them.

``measure`` asks the broker, ``figures`` holds what was found, ``model`` and ``simulate`` know nothing else.
"""
