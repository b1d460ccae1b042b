from __future__ import annotations

import contextlib
from collections.abc import Iterator

import pytest
import redis

from tests.redis_server import RedisCluster, RedisServer


@pytest.fixture(scope="module")
def cluster() -> Iterator[RedisCluster]:
    with RedisCluster() as running:
        yield running


def test_what_redis_acknowledged_survives_its_kill_and_stands_on_the_same_port() -> None:
    with RedisServer() as server, contextlib.closing(redis.Redis.from_url(server.url)) as client:
        for number in range(3):
            client.set(f"key-{number}", number)
            server.kill()
            assert not server.is_running()
            with pytest.raises(redis.exceptions.ConnectionError):
                client.get("key-0")
            server.restart()
            assert [client.get(f"key-{known}") for known in range(number + 1)] == [
                str(known).encode() for known in range(number + 1)
            ]


def test_a_redis_that_was_left_has_no_process_and_no_folder() -> None:
    with RedisServer() as server:
        assert server.is_running()
        assert server.folder.is_dir()
    assert not server.is_running()
    assert not server.folder.exists()


def test_a_redis_that_cannot_start_says_why() -> None:
    with pytest.raises(AssertionError, match="no-such-option"), RedisServer("--no-such-option", "1"):
        pass


def test_a_clusters_keys_lie_on_all_of_its_nodes(cluster: RedisCluster) -> None:
    host, port = cluster.addresses[0]
    with contextlib.closing(redis.RedisCluster(host=host, port=port)) as client:
        for number in range(60):
            client.set(f"key-{number}", number)
        assert [client.get(f"key-{number}") for number in range(60)] == [str(number).encode() for number in range(60)]
    sizes = []
    for node in cluster.nodes:
        with contextlib.closing(node.client()) as direct:
            sizes.append(direct.dbsize())
    assert sum(sizes) == 60
    assert all(size > 0 for size in sizes)


def test_a_cluster_is_whole_again_after_a_node_was_killed(cluster: RedisCluster) -> None:
    host, port = cluster.addresses[0]
    with contextlib.closing(redis.RedisCluster(host=host, port=port)) as client:
        client.set("before", "it")
        for node in cluster.nodes:
            node.kill()
            node.restart()
            cluster.wait_until_whole()
        assert client.get("before") == b"it"
