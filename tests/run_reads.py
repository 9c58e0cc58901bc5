"""Shapes of a run: in which pieces, and when, a reader hands out a world's records.

Each is a generator: it reads from a ``Source`` and yields what was read. What it leaves unread is
read after it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import random
    from collections.abc import Iterator

    from run_shapes import Shape
    from run_worlds import Source

    from noskew.dataflows.core.steps import Decoded


def everything(source: Source, rng: random.Random) -> Iterator[Decoded]:
    """One read of all there is."""
    yield source.read(*source.unread)


def one_by_one(source: Source, rng: random.Random) -> Iterator[Decoded]:
    """One record a read, of any input."""
    while source.unread.any():
        chosen = rng.choice(np.flatnonzero(source.unread).tolist())
        yield source.read(*(int(one == chosen) for one in range(source.world.inputs)))


def chunks(source: Source, rng: random.Random) -> Iterator[Decoded]:
    """Any number of each input, or none; marks of ends come when they come."""
    while source.unread.any():
        counts = [rng.choice([0, 0, 1, 2, 5, 20]) for _ in source.unread]
        yield source.read(*counts, drained=rng.random() < 0.5, ends=rng.random() < 0.5)


def one_after_another(source: Source, rng: random.Random) -> Iterator[Decoded]:
    """Each input to its end before the next: payments first, the last partition far ahead."""
    for one in range(source.world.inputs):
        yield source.read(*[0] * one, int(source.unread[one]))


def last_first(source: Source, rng: random.Random) -> Iterator[Decoded]:
    """Labels before payments, and the last partition before the first."""
    for one in reversed(range(source.world.inputs)):
        yield source.read(*[0] * one, int(source.unread[one]))


def one_behind(source: Source, rng: random.Random) -> Iterator[Decoded]:
    """The first partition comes a record at a time, while all others are ahead."""
    while source.unread.any():
        yield source.read(1, *[40] * (source.world.inputs - 1))


def interleaved(source: Source, rng: random.Random) -> Iterator[Decoded]:
    """Three of payments, then three of labels, and so on."""
    partitions = source.world.partitions
    while source.unread.any():
        for stream in range(len(partitions)):
            yield source.read(
                *(3 * (one == stream) for one, n in enumerate(partitions) for _ in range(n))
            )


def own_pauses(source: Source, rng: random.Random) -> Iterator[Decoded]:
    """We are slow, a minute a read, and more has always arrived than we took: nobody is silent."""
    while source.unread.any():
        source.now_s += 60
        yield source.read(*(rng.choice([0, 1, 9]) for _ in source.unread), drained=False)


def caught_up(source: Source, rng: random.Random) -> Iterator[Decoded]:
    """Records are read as they arrive: no input has any that is unread."""
    while source.arrived < len(source.world) or source.unread.any():
        source.arrived = min(source.arrived + rng.choice([1, 1, 1, 2]), len(source.world))
        yield source.read(*source.unread)


def silent(one: int) -> Shape:
    """Return a shape in which input ``one`` is silent until the others have been read."""

    def shape(source: Source, rng: random.Random) -> Iterator[Decoded]:
        others = [10 * (i != one) for i in range(source.world.inputs)]
        while np.delete(source.unread, one).any():
            source.now_s += 0.6
            yield source.read(*others)
        for _ in range(3):
            source.now_s += 0.6
            yield source.read()
        yield from chunks(source, rng)

    return shape


def held(one: int) -> Shape:
    """Return a shape in which input ``one`` waits for the registry from its fourth record on."""

    def shape(source: Source, rng: random.Random) -> Iterator[Decoded]:
        yield source.read(*[3] * source.world.inputs)
        for _ in range(8):
            yield source.read(*[3] * source.world.inputs, held=[one])
        yield from chunks(source, rng)

    return shape
