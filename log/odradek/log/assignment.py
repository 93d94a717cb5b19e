"""Which member of a group gets which partitions: balanced, and moving as few as possible. Pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping


def assign(owned: Mapping[str, Collection[int]], partitions: int) -> dict[str, frozenset[int]]:
    """Share out ``range(partitions)`` to the members (the keys of ``owned``, which says what each holds now).

    Counts differ by one at most; among such plans a member keeps as much as it can. The result depends on nothing else.
    """
    if not owned:
        return {}
    share, larger_shares = divmod(partitions, len(owned))
    kept: dict[str, list[int]] = {}
    taken: set[int] = set()
    # Who holds most gets the larger shares, so that nobody gives up a partition without need.
    for place, member in enumerate(sorted(owned, key=lambda name: (-len(owned[name]), name))):
        quota = share + (place < larger_shares)
        keep = [p for p in sorted(set(owned[member])) if p < partitions and p not in taken][:quota]
        taken.update(keep)
        kept[member] = keep
    free = [p for p in range(partitions) if p not in taken]
    for place, (member, keep) in enumerate(kept.items()):
        missing = share + (place < larger_shares) - len(keep)
        keep.extend(free[:missing])
        del free[:missing]
        kept[member] = keep
    return {member: frozenset(keep) for member, keep in kept.items()}
