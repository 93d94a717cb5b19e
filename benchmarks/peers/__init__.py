"""odradek and other engines for durable execution at the same work, in one run on one machine: ``make compare``.

``apps/`` runs in the Python of each contestant and imports nothing of this repository but ``load`` and ``counter``;
everything else runs in odradek's own and imports nothing of the peers'.
"""
