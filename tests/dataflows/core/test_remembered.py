"""Texts as numbers: equal where the texts are, and free again once no one holds them."""

from __future__ import annotations

import numpy as np

from noskew.dataflows.core.remembered import Codes, Remembered
from noskew.schemas.columns import NULL, Strings


def test_equal_texts_have_equal_numbers_and_nulls_none() -> None:
    codes = Codes()

    first = codes.of(Strings.from_list(["a", "", None, "b", "a", "ключ"])).tolist()
    again = codes.of(Strings.from_list(["b", "ключ", "c", ""])).tolist()

    assert first[0] == first[4]
    assert first[2] == NULL
    assert len({first[0], first[1], first[3], first[5]}) == 4
    assert again[:2] == [first[3], first[5]]
    assert again[3] == first[1]
    assert again[2] not in first


def test_numbers_of_texts_that_none_holds_are_given_again() -> None:
    codes = Codes()
    kept = codes.of(Strings.from_list(["kept"]))
    for turn in range(50):
        texts = Strings.from_list([f"{turn}-{i}" for i in range(300)])
        found = codes.of(texts)
        if len(found) < len(texts):
            found = codes.of(texts, np.array([kept[0]]))
        assert len(set(found.tolist())) == 300
        assert codes.of(Strings.from_list(["kept"])).tolist() == kept.tolist()

    assert len(codes.rows) <= 4096
    assert codes.counters[2] < 2000


def test_more_new_texts_than_the_table_was_made_for_find_room_at_the_second_call() -> None:
    codes = Codes()
    texts = Strings.from_list([f"text {i % 9000}" for i in range(10_000)])

    short = codes.of(texts)
    whole = codes.of(texts, short)

    assert len(short) < len(texts)
    assert len(whole) == len(texts)
    assert len(set(whole.tolist())) == 9000
    assert whole[: len(short)].tolist() == short.tolist()


def test_texts_longer_than_the_heap_find_room_at_the_second_call() -> None:
    codes = Codes()
    texts = Strings.from_list([str(i) * 4096 for i in range(10)])

    assert len(codes.of(texts)) < 10
    assert len(set(codes.of(texts, np.zeros(0, np.int64)).tolist())) == 10


def test_a_number_in_use_is_never_given_to_another_text() -> None:
    codes = Codes()
    held = codes.of(Strings.from_list(["one", "two", "three"]))
    for turn in range(20):
        texts = Strings.from_list([f"{turn}/{i}" for i in range(400)])
        found = codes.of(texts)
        if len(found) < len(texts):
            found = codes.of(texts, held)
        assert not set(found.tolist()) & set(held.tolist())

    assert codes.of(Strings.from_list(["three", "two", "one"])).tolist() == held.tolist()[::-1]


def test_what_is_never_used_takes_next_to_no_memory() -> None:
    idle = Remembered(strings=True, used=False)

    assert idle.rows.nbytes + idle.heap.nbytes < 1024
