"""The store against a real Redis that is slow, killed, emptied, rolled back or another's."""

from __future__ import annotations

import logging
import re
import threading
from typing import TYPE_CHECKING

import pytest
from redis_server import RedisServer
from stored import CUSTOMER, FINGERPRINT, TERMINAL, customers, plan, terminals
from waiting import until

from noskew.dataflows.store import writer
from noskew.dataflows.store.keys import Names
from noskew.dataflows.store.rows import pack
from noskew.dataflows.store.writer import Store

if TYPE_CHECKING:
    from pathlib import Path

    from noskew.dataflows.core.rows import Rows

NAMES = Names("noskew", "pay", 0)
WAIT_S = 15.0


def store_of(server: RedisServer, **settings: float) -> Store:
    generation = int(settings.get("generation", 1))
    flush_s = settings.get("flush_s", 0.005)
    return Store(plan(), url=server.url, generation=generation, flush_s=flush_s)


def blobs(rows: Rows, generation: int = 1) -> dict[bytes, bytes]:
    ids = [
        key if isinstance(key, int) else str(key).encode()
        for key in (rows.key.tolist() if rows.entity == CUSTOMER else rows.key.to_list())  # type: ignore[union-attr]  # by entity
    ]
    packed = pack(rows, FINGERPRINT)
    return {
        NAMES.row(generation, rows.entity, key): row.tobytes()
        for key, row in zip(ids, packed, strict=True)
    }


def rows_in(server: RedisServer, generation: int = 1) -> dict[bytes, bytes]:
    names = list(server.client.scan_iter(NAMES.pattern(generation), count=10_000))
    return dict(zip(names, server.client.mget(names), strict=True)) if names else {}


def watermark(server: RedisServer) -> dict[bytes, bytes]:
    found: dict[bytes, bytes] = server.client.hgetall(NAMES.watermark)
    return found


def test_committed_rows_watermark_and_pointer_are_there_after_a_flush(server: RedisServer) -> None:
    mine, theirs = customers([1, 2], seq=7), terminals(["a:b", "50%", "ü"], seq=7)
    with store_of(server) as store:
        store.commit([mine, theirs], 7)
        assert store.flush(WAIT_S)

        assert rows_in(server) == blobs(mine) | blobs(theirs)
        assert server.client.exists(b"noskew:{pay.0}:1:terminal_id:a%3Ab")
        assert watermark(server) == {b"generation": b"1", b"seq": b"7", b"writing": b"7"}
        assert server.client.get(NAMES.pointer) == b"1"
        status = store.status()
        assert (status.dirty, status.seq, status.acked_seq) == (0, 7, 7)
        assert (status.connected, status.rewrites, status.refused) == (True, 0, None)
        assert status.written == 5


def test_rows_are_written_without_a_flush(server: RedisServer) -> None:
    with store_of(server) as store:
        store.commit([customers([1], seq=1)], 1)
        until(lambda: server.client.exists(NAMES.row(1, CUSTOMER, 1)))


def test_the_watermark_moves_though_no_row_has_changed(server: RedisServer) -> None:
    with store_of(server) as store:
        store.commit([], 3)
        assert store.flush(WAIT_S)
        assert watermark(server)[b"seq"] == b"3"


def test_readers_learn_the_generation_before_anything_is_committed(server: RedisServer) -> None:
    with store_of(server):
        until(lambda: server.client.get(NAMES.pointer) == b"1")


def test_a_row_changed_often_between_two_flushes_is_written_once(server: RedisServer) -> None:
    with store_of(server, flush_s=60) as store:
        until(lambda: store.status().connected)
        for seq in range(100):
            store.commit([customers([1], seq=seq)], seq)
        assert store.flush(WAIT_S)

        # At most one write had begun before the pause of a minute, which only ``flush`` cuts short.
        assert store.status().written <= 2
        assert rows_in(server) == blobs(customers([1], seq=99))


def test_gone_entities_are_deleted_and_a_reborn_one_is_written(server: RedisServer) -> None:
    with store_of(server) as store:
        store.commit([customers([1, 2, 3], seq=1, slots=[0, 1, 2])], 1)
        assert store.flush(WAIT_S)
        store.commit([customers([], gone=[1, 2])], 2)
        assert store.flush(WAIT_S)
        assert list(rows_in(server)) == [NAMES.row(1, CUSTOMER, 3)]

        store.commit([customers([2, 9], seq=3, slots=[0, 1])], 3)
        assert store.flush(WAIT_S)
        assert rows_in(server) == blobs(customers([3], seq=1)) | blobs(customers([2, 9], seq=3))


@pytest.mark.parametrize(("generation", "seq"), [(1, 501), (2, 0)])
def test_a_newer_writer_ends_this_one(server: RedisServer, generation: int, seq: int) -> None:
    with store_of(server, generation=generation) as newer:
        newer.commit([customers([1], seq=seq)], seq)
        assert newer.flush(WAIT_S)
    with store_of(server) as store:
        store.commit([customers([1], seq=500)], 500)
        assert not store.flush(WAIT_S)

        found = f"generation {generation}, seq {seq};.*generation 1, seq 500"
        assert re.search(found, str(store.refused))
        assert "{pay.0}:watermark" in str(store.refused)
        assert rows_in(server, generation) == blobs(customers([1], seq=seq), generation)
        assert rows_in(server) == (blobs(customers([1], seq=seq)) if generation == 1 else {})
        calls = server.client.info("commandstats")["cmdstat_evalsha"]["calls"]
        store.commit([customers([1], seq=501)], 501)
        assert not store.flush(0.1)
        assert server.client.info("commandstats")["cmdstat_evalsha"]["calls"] == calls


def test_a_restarted_process_may_write_the_seq_it_had_written(server: RedisServer) -> None:
    for _ in range(2):
        with store_of(server) as store:
            store.commit([customers([1], seq=5)], 5)
            assert store.flush(WAIT_S)


def test_a_new_generation_moves_the_pointer_and_keeps_the_old_rows(server: RedisServer) -> None:
    with store_of(server) as old:
        old.commit([customers([1], seq=900)], 900)
        assert old.flush(WAIT_S)
    with store_of(server, generation=2) as store:
        store.commit([customers([1], seq=0)], 0)
        assert store.flush(WAIT_S)

    assert server.client.get(NAMES.pointer) == b"2"
    assert rows_in(server, 1) == blobs(customers([1], seq=900))
    assert rows_in(server, 2) == blobs(customers([1], seq=0), 2)
    assert watermark(server) == {b"generation": b"2", b"seq": b"0", b"writing": b"0"}


def test_redis_away_at_the_start_gets_the_newest_rows_when_it_comes(tmp_path: Path) -> None:
    server = RedisServer(tmp_path)
    with store_of(server) as store:
        for seq in range(10):
            store.commit([customers([1, 2], seq=seq)], seq)
        until(lambda: store.status().error is not None)
        assert not store.flush(0.05)
        assert store.status().dirty == 2
        with server:
            until(lambda: store.status().acked_seq == 9)
            assert rows_in(server) == blobs(customers([1, 2], seq=9))


def test_redis_killed_and_back_empty_gets_every_row_again(server: RedisServer) -> None:
    old, new = customers([1, 2], seq=1), customers([3], seq=2)
    with store_of(server) as store:
        store.commit([old], 1)
        assert store.flush(WAIT_S)
        server.kill()
        store.commit([new], 2)
        until(lambda: not store.status().connected)
        server.start()
        until(lambda: store.status().acked_seq == 2)

        assert rows_in(server) == blobs(old) | blobs(new)
        assert server.client.get(NAMES.pointer) == b"1"
        assert store.status().rewrites >= 1


def test_an_idle_store_notices_that_redis_was_restarted_empty(server: RedisServer) -> None:
    with store_of(server) as store:
        store.commit([customers([1, 2], seq=1)], 1)
        assert store.flush(WAIT_S)
        server.kill()
        server.start()

        until(lambda: rows_in(server) == blobs(customers([1, 2], seq=1)))


def test_a_restarted_redis_gets_every_row_whatever_its_watermark_says(
    server: RedisServer,
) -> None:
    rows = customers([1, 2], seq=1)
    with store_of(server) as store:
        store.commit([rows], 1)
        assert store.flush(WAIT_S)
        server.pause()
        store.commit([], 2)
        until(lambda: not store.status().connected)
        server.resume()
        server.kill()
        server.start()
        server.client.hset(NAMES.watermark, mapping={"generation": 1, "seq": 1, "writing": 1})

        until(lambda: store.status().acked_seq == 2)
        assert rows_in(server) == blobs(rows)


def test_redis_emptied_under_an_open_connection_is_noticed(server: RedisServer) -> None:
    with store_of(server) as store:
        store.commit([customers([1, 2], seq=1)], 1)
        assert store.flush(WAIT_S)
        server.client.flushall()
        store.commit([customers([2], seq=2)], 2)
        assert store.flush(WAIT_S)

        assert rows_in(server) == blobs(customers([1], seq=1)) | blobs(customers([2], seq=2))
        assert store.status().rewrites == 1


def test_an_older_state_of_redis_is_put_right(server: RedisServer) -> None:
    with store_of(server) as store:
        store.commit([customers([1, 2, 3], seq=1, slots=[0, 1, 2])], 1)
        assert store.flush(WAIT_S)
        before = {name: server.client.dump(name) for name in server.client.scan_iter()}
        store.commit([customers([2], seq=2, slots=[1], gone=[1])], 2)
        assert store.flush(WAIT_S)

        pipe = server.client.pipeline(transaction=True).flushall()
        for name, dump in before.items():
            pipe.restore(name, 0, dump)
        pipe.execute()
        wanted = blobs(customers([2], seq=2)) | blobs(customers([3], seq=1))
        until(lambda: rows_in(server) == wanted)
        assert watermark(server)[b"seq"] == b"2"


def test_a_late_call_of_an_older_pass_is_refused_before_the_newer_is_done(
    server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer, "CHUNK", 1)
    with store_of(server) as store:
        store.commit([customers([1], seq=1)], 1)
        assert store.flush(WAIT_S)
        # What a pass at seq 9 leaves when it is cut off after its first call.
        server.client.hset(NAMES.watermark, "writing", "9")
        store.commit([customers([1], seq=8)], 8)
        assert not store.flush(WAIT_S)

        assert "seq 9" in str(store.refused)
        assert rows_in(server) == blobs(customers([1], seq=1))


def test_a_pass_of_many_calls_moves_the_watermark_last(
    server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer, "CHUNK", 3)
    done = "HSET noskew:{pay.0}:watermark generation 1 seq 1 writing 1"
    seen: list[str] = []
    with server.client.monitor() as monitor, store_of(server) as store:
        store.commit([customers(range(6), seq=1), terminals(["a", "b"], seq=1)], 1)
        assert store.flush(WAIT_S)
        while done not in seen:
            seen.append(str(monitor.next_command()["command"]))

    assert sum(text.startswith("SET noskew:{pay.0}:1:") for text in seen) == 8
    assert "HSET noskew:{pay.0}:watermark writing 1" in seen
    assert sum(text.startswith("EVALSHA") for text in seen) >= 3


def test_a_script_cache_emptied_by_someone_is_filled_again(server: RedisServer) -> None:
    with store_of(server) as store:
        store.commit([customers([1], seq=1)], 1)
        assert store.flush(WAIT_S)
        server.client.script_flush()
        store.commit([customers([1], seq=2)], 2)
        assert store.flush(WAIT_S)
        assert rows_in(server) == blobs(customers([1], seq=2))


def test_a_paused_redis_blocks_neither_commits_nor_the_end(server: RedisServer) -> None:
    with store_of(server) as store:
        store.commit([customers([1], seq=1)], 1)
        assert store.flush(WAIT_S)
        server.pause()
        try:
            for seq in range(2, 200):
                store.commit([customers([1, seq], seq=seq, slots=[0, seq])], seq)
            until(lambda: store.status().error is not None)
            assert store.status().dirty == 199
            assert not store.flush(0.05)
        finally:
            server.resume()
        until(lambda: store.status().acked_seq == 199)
        assert len(rows_in(server)) == 199
        assert server.client.get(NAMES.row(1, CUSTOMER, 1)) == next(
            iter(blobs(customers([1], seq=199)).values())
        )


def test_closing_while_redis_is_paused_takes_no_longer_than_one_attempt(
    server: RedisServer,
) -> None:
    store = store_of(server)
    store.start()
    server.pause()
    try:
        store.commit([customers([1], seq=1)], 1)
        closing = threading.Thread(target=store.close)
        closing.start()
        closing.join(WAIT_S)
        assert not closing.is_alive()
    finally:
        server.resume()


def test_a_full_redis_is_like_one_that_is_away(server: RedisServer) -> None:
    with store_of(server) as store:
        server.client.config_set("maxmemory", "1")
        store.commit([customers([1], seq=1)], 1)
        until(lambda: "OOM" in (store.status().error or ""))
        assert store.refused is None
        server.client.config_set("maxmemory", "0")
        until(lambda: rows_in(server) == blobs(customers([1], seq=1)))


def test_a_read_only_redis_is_like_one_that_is_away(server: RedisServer) -> None:
    with store_of(server) as store:
        server.client.execute_command("REPLICAOF", "127.0.0.1", "1")
        store.commit([customers([1], seq=1)], 1)
        until(lambda: "read only" in str(store.status().error))
        server.client.execute_command("REPLICAOF", "NO", "ONE")
        until(lambda: rows_in(server) == blobs(customers([1], seq=1)))


def test_a_hundred_thousand_rows_come_back(server: RedisServer) -> None:
    many = customers(range(100_000), seq=1)
    with store_of(server) as store:
        store.commit([many], 1)
        assert store.flush(WAIT_S)
        server.client.flushall()
        assert store.flush(WAIT_S)  # nothing is dirty as far as it knows
        until(lambda: store.status().rewrites == 1 and store.status().dirty == 0)
        until(lambda: watermark(server).get(b"seq") == b"1")

        assert rows_in(server) == blobs(many)


def test_losing_and_finding_redis_is_said_once_each(
    server: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING), store_of(server) as store:
        until(lambda: store.status().connected)
        server.kill()
        store.commit([customers([1], seq=1)], 1)
        until(lambda: store.status().error is not None)
        server.start()
        until(lambda: store.status().acked_seq == 1)

    said = [record.getMessage() for record in caplog.records]
    assert sum("is away" in text for text in said) == 1
    assert sum("is back" in text for text in said) == 1


def test_both_entities_share_one_call(server: RedisServer) -> None:
    with store_of(server, flush_s=60) as store:
        until(lambda: server.client.get(NAMES.pointer) == b"1")
        store.commit([customers([1], seq=1), terminals(["a"], seq=1)], 1)
        assert store.flush(WAIT_S)

        assert server.client.info("commandstats")["cmdstat_evalsha"]["calls"] <= 2
        assert server.client.exists(NAMES.row(1, TERMINAL, b"a"))
