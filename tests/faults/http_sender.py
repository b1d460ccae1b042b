"""Requests over HTTP: sessions, their chunks, and messages of one step for each of many sessions."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any

import httpx2
import numpy as np
import pyarrow as pa
from pyarrow import ipc

from tests.faults.chunk import Answer, Chunk, NotAnswered, Refused, Steps, refusal

ARROW = "application/vnd.apache.arrow.stream"
LEAVING_SHARE = 0.1


class HttpSender:
    """One attempt of each request; a context manager, which ends its connections.

    Now and then it leaves a connection and makes another, which another of several workers may accept.

    Raises, all of its methods:
        NotAnswered, Refused.
    """

    def __init__(self, model: str, generator: random.Random) -> None:
        self._model = model
        self._random = generator
        self._http = httpx2.AsyncClient(
            timeout=None,  # the caller has one
            limits=httpx2.Limits(max_connections=None, max_keepalive_connections=None),
            trust_env=False,
        )

    async def __aenter__(self) -> HttpSender:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._http.aclose()

    async def open(self, url: str, session_id: str) -> None:
        """Begin a session. That it is there already is the answer to a request that came before this one."""
        try:
            await self._request("POST", f"{url}/v1/models/{self._model}/sessions", json={"session_id": session_id})
        except Refused as refused:
            if refused.code != "session_exists":
                raise

    async def steps(self, url: str, session_id: str) -> int:
        """How many steps a replica says that a session has applied."""
        return int((await self._request("GET", f"{url}/v1/sessions/{session_id}")).json()["steps"])

    async def step(self, url: str, chunk: Chunk) -> Answer:
        """Apply a chunk."""
        body = {"inputs": chunk.inputs.tolist(), "seq": chunk.seq}
        return Answer.read(
            (await self._request("POST", f"{url}/v1/sessions/{chunk.session_id}/step", json=body)).json()
        )

    async def step_many(self, url: str, chunks: Sequence[Chunk], *, in_arrow: bool) -> list[Answer]:
        """Apply chunks of one step each, of different sessions, in one message.

        Raises:
            NotAnswered: some row was not answered, or not yet; the rest may have been applied.
            Refused: a row was.
        """
        path = f"{url}/v1/models/{self._model}/step"
        if in_arrow:
            inputs = np.concatenate([chunk.inputs for chunk in chunks])
            ids, seqs = [chunk.session_id for chunk in chunks], [chunk.seq for chunk in chunks]
            content, headers = arrow_message(ids, inputs, seqs), {"content-type": ARROW}
            table = ipc.open_stream((await self._request("POST", path, content=content, headers=headers)).content)
            rows = table.read_all().to_pydict()
            if "seq_conflict" in rows["code"]:  # in JSON a conflict says which seq is expected
                return await self.step_many(url, chunks, in_arrow=False)
            codes = enumerate(zip(rows["code"], rows["detail"], strict=True))
            errors = [{"row": row, "code": code, "detail": detail} for row, (code, detail) in codes if code]
        else:
            columns = {"session_ids": [chunk.session_id for chunk in chunks], "seq": [chunk.seq for chunk in chunks]}
            body = {**columns, "inputs": [chunk.inputs[0].tolist() for chunk in chunks]}
            rows = (await self._request("POST", path, json=body)).json()
            errors = rows["errors"]
        # That a row is refused for good must not hide behind another that is refused for now.
        for error in sorted(map(refusal, errors), key=lambda error: isinstance(error, NotAnswered)):
            raise error
        ids = rows["session_id" if in_arrow else "session_ids"]
        answered = zip(ids, rows["seq"], rows["outputs"], strict=True)
        return [Answer(name, seq, seq + 1, np.array([outputs], np.float32)) for name, seq, outputs in answered]

    async def _request(
        self, method: str, url: str, headers: Mapping[str, str] | None = None, **options: Any
    ) -> httpx2.Response:
        leaving = {"connection": "close"} if self._random.random() < LEAVING_SHARE else {}
        try:
            response = await self._http.request(method, url, headers={**(headers or {}), **leaving}, **options)
        except httpx2.TransportError as error:
            raise NotAnswered(str(error) or type(error).__name__) from error
        if not response.is_success:
            try:
                raise refusal(response.json())
            except ValueError:
                if response.status_code in (502, 504):  # in a proxy's words: nobody answered it
                    raise NotAnswered(f"a proxy says {response.status_code}") from None
                raise Refused(str(response.status_code), response.text) from None
        return response


def arrow_message(session_ids: Sequence[str], inputs: Steps, seqs: Sequence[int | None]) -> bytes:
    """A columnar message of one step for each session, ``inputs`` ``[R, F]``, as an Arrow IPC stream."""
    batch = pa.record_batch(
        {
            "session_id": pa.array(session_ids),
            "inputs": pa.FixedSizeListArray.from_arrays(pa.array(inputs.reshape(-1)), inputs.shape[1]),
            "seq": pa.array(seqs, pa.int64()),
        }
    )
    sink = pa.BufferOutputStream()
    with ipc.new_stream(sink, batch.schema) as writer:
        writer.write_batch(batch)
    return bytes(sink.getvalue())
