from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

from ostinato.service.config import Settings
from ostinato.service.errors import InvalidInput, StateStoreUnavailable
from ostinato.service.state.address import open_document
from ostinato.service.state.document import MAX_BYTES, Document
from ostinato.service.state.lmdb.document import FILE
from tests.redis_server import RedisCluster, RedisServer

OpenDocument = Callable[[], Document]


@pytest.fixture(params=["memory", "lmdb", "redis", "redis cluster"])
def open_again(
    request: pytest.FixtureRequest, tmp_path: Path, redis_server: RedisServer, redis_cluster: RedisCluster
) -> OpenDocument:
    """The same document at each call, as another process has it."""
    if request.param == "memory":
        only = open_document(Settings(state="memory://"))
        return lambda: only
    prefix = f"?prefix=document-{tmp_path.name[-20:]}"
    addresses = {
        "lmdb": f"lmdb://{tmp_path}",
        "redis": redis_server.url + prefix,
        "redis cluster": redis_cluster.url + prefix,
    }
    return lambda: open_document(Settings(state=addresses[request.param]))


async def test_what_is_put_there_is_read_by_all(open_again: OpenDocument) -> None:
    one, other = open_again(), open_again()
    assert await one.read() == b""
    assert await one.swap(b"", b"first")
    assert await other.read() == b"first"
    assert not await other.swap(b"", b"second")
    assert await other.swap(b"first", b"second")
    assert await one.read() == b"second"
    for each in (one, other):
        await each.stop()


async def test_of_many_changes_at_once_none_is_lost(open_again: OpenDocument) -> None:
    documents = [open_again() for _ in range(4)]

    async def count(number: int, document: Document) -> None:
        for _ in range(25):
            while True:
                content = await document.read()
                counted = int((content or b"0").partition(b" ")[0]) + 1
                if await document.swap(content, b"%d by %d" % (counted, number)):
                    break

    await asyncio.gather(*(count(number, document) for number, document in enumerate(documents)))
    assert (await documents[0].read()).startswith(b"100 ")
    for each in documents:
        await each.stop()


async def test_a_store_that_is_away_is_told(tmp_path: Path) -> None:
    for state in ("redis://127.0.0.1:1", f"lmdb://{tmp_path}/nowhere"):
        document = open_document(Settings(state=state))
        with pytest.raises(StateStoreUnavailable):
            await document.swap(b"", b"first")
        await document.stop()


async def test_what_is_too_large_to_be_read_again_is_not_written(open_again: OpenDocument) -> None:
    document = open_again()
    largest = b"x" * MAX_BYTES
    assert await document.swap(b"", largest)
    with pytest.raises(InvalidInput, match="more than 1,048,576 bytes"):
        await document.swap(largest, largest + b"x")
    assert await document.read() == largest
    assert await document.swap(largest, b"less")
    await document.stop()


async def test_a_file_that_is_too_large_is_told_and_not_taken_for_a_part_of_it(tmp_path: Path) -> None:
    (tmp_path / FILE).write_bytes(b" " * (MAX_BYTES + 1))
    document = open_document(Settings(state=f"lmdb://{tmp_path}"))
    with pytest.raises(StateStoreUnavailable, match="more than"):
        await document.read()
