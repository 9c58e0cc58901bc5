"""How much memory and disk a plan needs at given rates: what ``check --at`` tells before a run.

Sizes of rows are taken from the layout the tables are made with (``shape``), so a change of the
state changes the prediction. What a table *uses* is predicted; what it *reserves* can be a quarter
more, as its arrays grow by a quarter, and twice in the hash tables, which double.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from noskew.dataflows.core.shape import Layout
from noskew.dataflows.definition.plan import MOVING, WINDOWLESS, Stat
from noskew.kernels import ids, values
from noskew.kernels.layout import CHUNK, KEY_CAP

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from noskew.dataflows.definition.plan import Op, Plan, StreamPlan, TablePlan, Window

_WORD: Final = 8
_PLACE: Final = 4
"""A slot number in the hash table and in the list of changes."""
_GROWN: Final = 1.25
"""Arrays grow by a quarter: so much of what is used may be reserved."""
_TEXT: Final = 24
"""Bytes a string key or id is taken to have."""
_SPLIT_FILL: Final = 0.69
"""How full chunks are on average whose entries come in no order: splitting leaves ln 2."""
_ROW_HEAD: Final = 58
"""Bytes of a Redis row before its values: a contract (DESIGN section 5)."""
_ROW_INDEX: Final = 160
"""Bytes of Python objects by which the writer of rows finds one."""
PROCESS: Final = 320 << 20
"""What a process takes before it holds any event: Python, libraries, kernels, clients' buffers."""
_RUN: Final = 4
"""Bytes of a journal run of a caught-up pipeline, in which every record may be one."""
_ENTRY: Final = 140
_INPUT: Final = 42
"""Bytes of a journal entry, and of each input partition in it, without the names."""
_ENTRIES_S: Final = 50
"""Entries a second: an interval lasts at least 20 ms."""
PARTITIONS: Final = 8
"""Partitions a topic is taken to have: no server is asked."""
SNAPSHOTS: Final = 3

_DAY_S: Final = 86_400
_SECOND_US: Final = 1_000_000


@dataclass(frozen=True, slots=True)
class RowBytes:
    """Bytes of a table's rows.

    key    a key without entries: its slot, its places in the hash table and the list of changes
           (the text of a string key comes on top)
    entry  an event held;  chunk: ``entries`` of these with their totals, the unit in which a key
           takes memory, at least one
    """

    key: int
    entry: int
    chunk: int
    entries: int


@dataclass(frozen=True, slots=True)
class Load:
    """What a pipeline is to carry.

    rates  records a second, by place of the stream
    keys   entity -> how many of its values have state at a time
    """

    rates: tuple[float, ...]
    keys: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class TableNeed:
    """What one (stream, entity) takes.

    held_us   how long an event is needed;  held: how many are, of all ``keys`` (a key's first
              chunk also keeps those of its events that are needed no more, 16 on average)
    used      bytes in use;  reserved: bytes the process may have taken for them
    """

    stream: str
    entity: str
    rate: float
    keys: int
    held_us: int
    held: int
    rows: RowBytes
    used: int
    reserved: int


@dataclass(frozen=True, slots=True)
class IdsNeed:
    """What the remembered ids of a stream take (``dedupe`` or ``revise``)."""

    stream: str
    held_us: int
    held: int
    reserved: int


@dataclass(frozen=True, slots=True)
class Need:
    """What a pipeline takes in one process.

    written   bytes of the newest rows, kept to write them to Redis
    memory    bytes in all, reserved, with ``PROCESS``
    journal   bytes a day, about, not compressed;  snapshots: bytes of those that are kept
    """

    tables: tuple[TableNeed, ...]
    ids: tuple[IdsNeed, ...]
    written: int
    memory: int
    journal: int
    snapshots: int

    @property
    def held(self) -> int:
        """Return how many events are held, in all tables together."""
        return sum(table.held for table in self.tables)


def row_bytes(table: TablePlan, stream: StreamPlan) -> RowBytes:
    """Return the bytes of a table's rows."""
    made = Layout(table, stream, KEY_CAP, table.reach_us, table.reach_us)
    entry = _WORD * made.fields
    # The hash table is at most half full.
    key = _WORD * made.width + 3 * _PLACE
    return RowBytes(
        key=key, entry=entry, chunk=_WORD * made.chunk_width + CHUNK * entry, entries=CHUNK
    )


def feature_bytes(plan: Plan) -> tuple[int, ...]:
    """Return, for each feature, the bytes per key that its statistics would take alone.

    Features share what they can, so a table takes less than the sum.
    """
    reads = _reads(plan)
    found = [0] * len(reads)
    for table in plan.tables:
        stream = plan.streams[table.stream]
        at = {op.node: place for place, op in enumerate(table.ops)}
        nothing = row_bytes(_pruned(table, []), stream).key
        for feature, nodes in enumerate(reads):
            places = sorted(at[node] for node in nodes if node in at)
            if places:
                found[feature] += row_bytes(_pruned(table, places), stream).key - nothing
    return tuple(found)


def redis_bytes(plan: Plan, entity: str) -> int:
    """Return the bytes of an entity's row in Redis, without its key."""
    own = [table for table in plan.tables if table.entity == entity]
    ops = [table.ops[place] for table in own for place in table.row]
    return _ROW_HEAD + _WORD * (len(ops) + sum(op.stat in MOVING for op in ops))


def predict(plan: Plan, load: Load) -> Need:
    """Return what a plan takes once its longest windows are full."""
    tables = tuple(_table(plan, table, load) for table in plan.tables)
    remembered = tuple(
        _ids(plan, stream, load.rates[stream.place])
        for stream in plan.streams
        if stream.dedupe_us
        or (stream.revise and any(t.stream == stream.place for t in plan.tables))
    )
    written = sum(_written(plan, tables, entity) for entity in {t.entity for t in tables})
    state = sum(table.reserved for table in tables) + sum(one.reserved for one in remembered)
    used = sum(table.used for table in tables) + sum(one.reserved for one in remembered)
    return Need(
        tables=tables,
        ids=remembered,
        written=written,
        memory=PROCESS + state + written,
        journal=round(_journal_s(plan, load) * _DAY_S),
        snapshots=SNAPSHOTS * used,
    )


def held_us(plan: Plan, table: TablePlan) -> int:
    """Return how long after its time an event is held: until nothing can reach it any more.

    That is max(d + W) below the horizon, which itself is the scored stream's lateness below now;
    for all of history and decays until folded; under ``revise`` for as long as it is open.
    """
    stream = plan.streams[table.stream]
    late_us = plan.scored.allowed_lateness_us
    fold_us = max(late_us, stream.allowed_lateness_us)
    reach_us = late_us + table.reach_us
    folds = [_fold_us(op, table.windows) for op in table.ops]
    reach_us = max([reach_us, *(fold_us + offset for offset in folds if offset is not None)])
    if stream.revise:
        reach_us = max(reach_us, open_us(plan, stream))
    return reach_us


def without(plan: Plan, features: Iterable[int]) -> Plan:
    """Return a plan that keeps no state for these features; only ``predict`` can read it."""
    left_out = set(features)
    reads = _reads(plan)
    wanted: set[int] = set().union(*(reads[i] for i in range(len(reads)) if i not in left_out))
    tables = [
        _pruned(table, [place for place, op in enumerate(table.ops) if op.node in wanted])
        for table in plan.tables
    ]
    entities = {table.entity for table in tables if table.ops}
    # An entity's table of the scored stream stands as long as another one of the entity does.
    kept = [t for t in tables if t.ops or (t.stream == 0 and t.entity in entities)]
    return replace(plan, tables=tuple(kept))


def longest(plan: Plan, table: TablePlan) -> tuple[int, ...]:
    """Return the features because of which a table's events are held as long as they are."""
    span_us = held_us(plan, table)
    reads = _reads(plan)
    needed = {
        op.node
        for place, op in enumerate(table.ops)
        if held_us(plan, _pruned(table, [place])) == span_us
    }
    return tuple(feature for feature, nodes in enumerate(reads) if nodes & needed)


def _table(plan: Plan, table: TablePlan, load: Load) -> TableNeed:
    stream = plan.streams[table.stream]
    rate = load.rates[table.stream]
    span_us = held_us(plan, table)
    held = _count(rate, span_us)
    rows = row_bytes(table, stream)
    keys = load.keys[table.entity]
    if not any(other.endless for other in plan.tables if other.entity == table.entity):
        keys = min(keys, held)  # a key without an event is forgotten
    # Half of a key's first chunk is of events that are held no more; in order of time all chunks
    # but the last are full, and half of that is empty.
    chunks = keys + held / rows.entries
    if table.stream > 0:
        chunks = max(keys, keys / 2 + held / (rows.entries * _SPLIT_FILL))
    text = _TEXT * keys if table.key_type == "string" else 0
    counted = sum(_different(plan, table, op, rate, keys) for op in _tallies(table))
    handles = _WORD * held if stream.revise else 0
    slabs = (rows.key - 2 * _PLACE) * keys + rows.chunk * chunks
    tally = _WORD * values.WIDTH
    used = slabs + 2 * _PLACE * keys + text + tally * counted + handles
    reserved = (_GROWN * slabs + _PLACE * _doubled(2 * (keys + 1)) + 2 * text + 2 * handles) + (
        tally * _doubled(4 * counted // 3) if counted else 0
    )
    return TableNeed(
        stream.name, table.entity, rate, keys, span_us, held, rows, round(used), round(reserved)
    )


def _ids(plan: Plan, stream: StreamPlan, rate: float) -> IdsNeed:
    span_us = stream.dedupe_us + stream.allowed_lateness_us
    if stream.revise:
        span_us = max(span_us, open_us(plan, stream))
    held = _count(rate, span_us)
    text = 2 * _TEXT * held if stream.fields[stream.id] == "string" else 0
    # A quarter full when it was made anew, at most half full.
    reserved = _WORD * ids.ID_WIDTH * _doubled(4 * (held + 1)) + text
    return IdsNeed(stream.name, span_us, held, reserved)


def _journal_s(plan: Plan, load: Load) -> float:
    """Return the bytes a second of the journal; with few records every one has its own entry."""
    rate = sum(load.rates)
    names = sum(len(stream.name) + len(stream.topic) + _INPUT for stream in plan.streams)
    return _RUN * rate + min(rate, _ENTRIES_S) * (_ENTRY + PARTITIONS * names)


def open_us(plan: Plan, stream: StreamPlan) -> int:
    """Return for how long an entry of a stream with ``revise`` is open."""
    late_us = plan.scored.allowed_lateness_us
    reach_us = max((t.reach_us for t in plan.tables if t.stream == stream.place), default=0)
    return max(late_us + reach_us, stream.allowed_lateness_us)


def _written(plan: Plan, tables: tuple[TableNeed, ...], entity: str) -> int:
    """Return the bytes of an entity's newest rows, whose arrays double."""
    keys = max(need.keys for need in tables if need.entity == entity)
    return keys * (2 * redis_bytes(plan, entity) + _ROW_INDEX)


def _fold_us(op: Op, windows: tuple[Window, ...]) -> int | None:
    """Return how far above the fold line's reach an op needs entries unfolded, if it folds."""
    if op.stat is Stat.SINCE_LAST:
        return None
    if op.stat in WINDOWLESS:
        return 0
    window = windows[op.window]
    return window.delay_us + window.high_open if window.over_us is None else None


def _tallies(table: TablePlan) -> list[Op]:
    """Return one op for each multiset of different values."""
    found = {(op.column, op.filter, op.window): op for op in table.ops if op.stat is Stat.DISTINCT}
    return list(found.values())


def _different(plan: Plan, table: TablePlan, op: Op, rate: float, keys: int) -> int:
    """Return how many different values a tally counts at most: all of its window."""
    window = table.windows[op.window]
    span_us = held_us(plan, table) if window.over_us is None else window.over_us
    most = _symbols(plan.streams[table.stream], table.columns[op.column].field)
    counted = _count(rate, span_us)
    return counted if most is None else min(counted, most * keys)


def _symbols(stream: StreamPlan, name: str) -> int | None:
    """Return how many values a boolean or an enum can have, None for other fields."""
    for field in stream.schema.get("fields", ()):
        if field["name"] == name:
            union = field["type"] if isinstance(field["type"], list) else [field["type"]]
            for one in union:
                if one == "boolean":
                    return 2
                if isinstance(one, dict) and one.get("type") == "enum":
                    return len(one["symbols"])
    return None


def _reads(plan: Plan) -> list[frozenset[int]]:
    """Return, for each feature, its node and those that it is computed from."""
    made_of = {row.node: (row.left, row.right) for row in plan.rows}
    found = []
    for feature in range(len(plan.names)):
        nodes, left = {feature}, [feature]
        while left:
            operands = made_of.get(left.pop(), ())
            left += [node for node in operands if node >= 0 and node not in nodes]
            nodes.update(left)
        found.append(frozenset(nodes))
    return found


def _pruned(table: TablePlan, places: list[int]) -> TablePlan:
    """Return a table that keeps only some of its ops, and what those use."""
    ops = [table.ops[place] for place in places]
    windows = sorted({op.window for op in ops} - {-1})
    columns = sorted({op.column for op in ops} - {-1})
    filters = sorted({op.filter for op in ops} - {-1})
    at = {place: new for new, place in enumerate(places)}
    return replace(
        table,
        windows=tuple(table.windows[place] for place in windows),
        columns=tuple(table.columns[place] for place in columns),
        filters=tuple(table.filters[place] for place in filters),
        ops=tuple(
            replace(
                op,
                window=windows.index(op.window) if op.window >= 0 else -1,
                column=columns.index(op.column) if op.column >= 0 else -1,
                filter=filters.index(op.filter) if op.filter >= 0 else -1,
            )
            for op in ops
        ),
        row=tuple(at[place] for place in table.row if place in at),
    )


def _count(rate: float, span_us: int) -> int:
    return round(rate * span_us / _SECOND_US)


def _doubled(rows: int) -> int:
    """Return the least power of two that is not less."""
    return 1 << max(rows - 1, 1).bit_length()
