"""The check of a connection before anything runs: what is refused, and what is only a warning."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from redis_server import RedisServer
from stored import customers, plan

from noskew.dataflows.errors import UsageError
from noskew.dataflows.store.link import check_connection
from noskew.dataflows.store.writer import Store

if TYPE_CHECKING:
    from pathlib import Path

WAIT_S = 15.0


@pytest.mark.parametrize("password", ["", ":wrong@"])
def test_a_wrong_password_is_refused_naming_url_and_fix(tmp_path: Path, password: str) -> None:
    with RedisServer(tmp_path, password="s3cret") as server:
        url = server.url.replace("://", f"://{password}")
        with pytest.raises(UsageError) as raised:
            check_connection(url)
        assert f"127.0.0.1:{server.port}" in str(raised.value)
        assert "redis.url" in str(raised.value)
        assert "wrong" not in str(raised.value).split(": ")[0]

        right = server.url.replace("://", "://:s3cret@")
        assert check_connection(right) == []
        with Store(plan(), url=right) as store:
            store.commit([customers([1], seq=1)], 1)
            assert store.flush(WAIT_S)
            assert "s3cret" not in store.shown


def test_a_user_who_may_not_run_scripts_is_refused(server: RedisServer) -> None:
    server.client.acl_setuser(
        "pipe", enabled=True, passwords=["+pw"], commands=["+@all", "-script"], keys=["*"]
    )
    with pytest.raises(UsageError, match="ACL SETUSER"):
        check_connection(server.url.replace("://", "://pipe:pw@"))


def test_a_database_that_does_not_exist_is_refused(server: RedisServer) -> None:
    with pytest.raises(UsageError, match="Correct the URL"):
        check_connection(server.url.replace("/0", "/99"))


@pytest.mark.parametrize("url", ["localhost:6379", "http://h", "redis://h:port/0"])
def test_a_url_that_is_none_is_refused(url: str) -> None:
    with pytest.raises(UsageError, match="not the URL of a Redis"):
        check_connection(url)


def test_a_redis_that_is_away_is_only_a_warning(tmp_path: Path) -> None:
    [warning] = check_connection(RedisServer(tmp_path).url)

    assert "Scoring goes on" in warning


def test_an_evicting_redis_is_warned_about(server: RedisServer) -> None:
    server.client.config_set("maxmemory-policy", "allkeys-lru")
    [warning] = check_connection(server.url)

    assert "allkeys-lru" in warning
    assert "noeviction" in warning
