"""What must notice a broken kernel: cases prepared with sound ones, then run again and again.

Preparing one works out what is right, the slow way; running it takes up to a few seconds
uncompiled. The quick ones come first: of these, the ones that catch most.
"""

from __future__ import annotations

import importlib.util
import inspect
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

from hashing_cases import HASHING_CASES
from naive import Naive
from number_cases import NUMBER_CASES
from slow_table import drawn
from strategies import deep_case
from tables import check, small_pools

from noskew.dataflows.definition.plan import Stat

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import ModuleType

    from strategies import Case


def _tests(name: str) -> ModuleType:
    """Load a test module of the core."""
    if name not in sys.modules:
        path = Path(__file__).parent / "dataflows" / "core" / f"{name}.py"
        spec = importlib.util.spec_from_file_location(name, path)
        assert spec is not None
        assert spec.loader is not None
        sys.modules[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[name])
    return sys.modules[name]


def _table(seed: int, size: int = 150) -> Callable[[], Callable[[], None]]:
    def table() -> Callable[[], None]:
        given = drawn(seed, size)
        return lambda: check(given)

    return _named(table, f"table_{seed}_{size}")


def _pools(seed: int) -> Callable[[], Callable[[], None]]:
    """Return a table whose pools grow and shrink all the time."""

    def table() -> Callable[[], None]:
        given, shrink = drawn(seed, 250), _tests("test_pools").shrink_and_look

        def run() -> None:
            with small_pools():
                check(given, shrink)

        return run

    return _named(table, f"pools_{seed}")


def _vectors(made: Callable[[], Case], name: str) -> Callable[[], Callable[[], None]]:
    """Return the vectors and, after every turn, the rows of a case."""

    def vectors() -> Callable[[], None]:
        case, vectors, rows = made(), _tests("test_engine_equals_naive"), _tests(_ROWS)
        naive = Naive(case.meaning, case.partitions)
        expected = []
        for chunk in case.chunks():
            answers = [naive.process(event).bits for event in chunk]
            expected.append((answers, naive.flush(), dict(naive.live_rows())))

        def run() -> None:
            mirror, seq = rows.mirror_of(case), 0
            for chunk, (answers, written, alive) in zip(case.chunks(), expected, strict=True):
                assert vectors.said(mirror.engine, case, chunk, seq) == answers
                seq += len(chunk)
                mirror.flush()
                assert mirror.written == written
                assert mirror.rows == alive

        return run

    return _named(vectors, name)


def _labelled(stat: Stat) -> Callable[[], Callable[[], None]]:
    return _vectors(
        lambda: _tests("test_engine_equals_naive").labelled(stat, 50), f"labelled_{stat.name}"
    )


def _deep(seed: int) -> Callable[[], Callable[[], None]]:
    return _vectors(lambda: deep_case(seed, 90), f"deep_{seed}")


def _judge(seed: int) -> Callable[[], Callable[[], None]]:
    def judge() -> Callable[[], None]:
        check = _tests("test_judge").test_the_judge_equals_its_sentences
        return lambda: check(seed, strings=seed % 2 == 1)

    return _named(judge, f"judge_{seed}")


def _test(module: str, name: str) -> Callable[[], Callable[[], None]]:
    """Return a test without arguments, or with small pools."""

    def test() -> Callable[[], None]:
        found = getattr(_tests(module), name)

        def run() -> None:
            if "small" not in inspect.signature(found).parameters:
                found()
                return
            with small_pools():
                found(small=None)

        return run

    return _named(test, name)


def _freeing(seed: int) -> Callable[[], Callable[[], None]]:
    def freeing() -> Callable[[], None]:
        test = _tests("test_pools").test_freeing_ripe_keys_and_shrinking_change_no_answer
        return lambda: test(seed)

    return _named(freeing, f"freeing_{seed}")


def _long_key(*, revise: bool) -> Callable[[], Callable[[], None]]:
    def long_key() -> Callable[[], None]:
        long = _tests("test_pools").check_long_key
        return lambda: long(700, 20, revise=revise)

    return _named(long_key, f"long_key_{revise}")


def _named(
    prepare: Callable[[], Callable[[], None]], name: str
) -> Callable[[], Callable[[], None]]:
    prepare.__name__ = name
    return prepare


_ENGINE: Final = "test_engine_equals_naive"
_ROWS: Final = "test_rows_equal_naive"

CASES: Final = (
    # Some milliseconds each.
    *NUMBER_CASES,
    *HASHING_CASES,
    _test(_ENGINE, "test_full_key_is_scored_flagged_and_not_aggregated"),
    _test(_ENGINE, "test_dead_letter_and_duplicate_split_no_key"),
    _test(_ROWS, "test_key_that_is_gone_is_deleted_once_and_may_come_back"),
    _test(_ROWS, "test_label_rewrites_the_row_of_its_entity_as_of_its_newest_payment"),
    _test("test_pools", "test_full_key_takes_entries_again_once_old_ones_are_out_of_reach"),
    _test("test_engine", "test_a_key_of_two_partitions_is_reported_once_and_shops_are_not"),
    _test("test_engine", "test_a_full_key_is_flagged_wherever_its_record_stands"),
    _test("test_engine", "test_a_key_that_is_gone_begins_anew_in_any_partition"),
    _test("test_judge", "test_long_ids_find_room"),
    _judge(0),
    _judge(1),
    _labelled(Stat.EWMA),
    # A fifth of a second, and most of what there is to catch.
    _table(40, 15),
    _test("test_pools", "test_freed_chunks_belong_to_nobody"),
    _test("test_pools", "test_full_key_of_several_chunks_equals_a_list"),
    _test("test_memory", "test_key_that_is_not_read_while_its_chunks_go_answers_as_one_that_is"),
    _test("test_memory", "test_what_was_given_back_can_be_taken_again"),
    _deep(0),
    *(_judge(seed) for seed in range(2, 12)),
    *(_labelled(stat) for stat in Stat if stat is not Stat.EWMA),
    _test("test_pools", "test_any_place_of_a_long_key_is_found_in_few_steps"),
    # A second or more.
    _test("test_pools", "test_string_keys_are_told_apart_after_any_number_have_come_and_gone"),
    _freeing(2),
    _table(0),
    _long_key(revise=True),
    *(_deep(seed) for seed in range(1, 4)),
    *(_table(seed) for seed in (1, 2, 3, 4, 5)),
    *(_pools(seed) for seed in (0, 1, 3)),
)
"""Each prepares a callable that fails, somehow, where something is wrong."""
