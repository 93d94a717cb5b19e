"""How large a fleet must be: costs are measured on real brokers, a model sizes fleets, a simulation runs them.

``measure`` asks the broker, ``figures`` holds what was found, ``model`` and ``simulate`` know nothing else.
"""
