"""A file that is damaged, or says what cannot be, is refused by name and never guessed at."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from history_files import only, placed, plan_of, read, rows, write

from noskew.dataflows.core.history import PARTITIONS_MOST
from noskew.dataflows.errors import UsageError

if TYPE_CHECKING:
    from pathlib import Path

    from noskew.dataflows.definition.plan import Plan


@pytest.fixture
def plan(tmp_path: Path) -> Plan:
    return plan_of(tmp_path)


@pytest.mark.parametrize("column", ["amount_cents", "stream"])
def test_damaged_pages_of_a_file_are_told(tmp_path: Path, plan: Plan, column: str) -> None:
    file = write(tmp_path, rows(20, stream=["payments"] * 20))
    names = pq.read_schema(file).names
    chunk = pq.ParquetFile(file).metadata.row_group(0).column(names.index(column))
    first = chunk.dictionary_page_offset or chunk.data_page_offset
    content = bytearray(file.read_bytes())
    content[first : first + chunk.total_compressed_size] = b"\xff" * chunk.total_compressed_size
    file.write_bytes(content)

    with pytest.raises(UsageError, match=r"history\.parquet is damaged \(.*\): write it again"):
        read(file, plan)


def test_columns_of_one_name_are_refused_where_they_are_read(tmp_path: Path, plan: Plan) -> None:
    table = pa.table({**rows(3), "note": [1, 2, 3], "more": [4, 5, 6]})
    file = tmp_path / "history.parquet"
    names = table.column_names
    pq.write_table(table.rename_columns([*names[:-1], "note"]), file)

    assert len(only(read(file, plan))) == 3, "nothing reads either of them"
    pq.write_table(table.rename_columns([*names[:-1], "amount_cents"]), file)
    with pytest.raises(UsageError, match="has several columns 'amount_cents'"):
        read(file, plan)


@pytest.mark.parametrize("text", ["many", "-3", "", " 4", "1048577", "9" * 5000])
def test_a_number_of_partitions_that_cannot_be_is_refused(
    tmp_path: Path, plan: Plan, text: str
) -> None:
    file = write(tmp_path, placed(4), {"noskew.partitions": text})

    with pytest.raises(UsageError, match=r"'noskew\.partitions' that its topic has"):
        read(file, plan)


def test_as_many_partitions_as_a_topic_may_have_are_taken(tmp_path: Path, plan: Plan) -> None:
    file = write(tmp_path, placed(4), {"noskew.partitions": "12"})

    assert read(file, plan).partitions == (12,)


def test_a_partition_beyond_any_topic_s_takes_no_memory(tmp_path: Path, plan: Plan) -> None:
    places = pa.array([0, PARTITIONS_MOST, 0, 0], pa.int32())
    file = write(tmp_path, placed(4, stream_partition=places, stream_offset=[0, 1, 2, 3]))

    with pytest.raises(UsageError, match=r"stream_partition is 1048576 in row 1; .* 0 to 1048575"):
        read(file, plan)
