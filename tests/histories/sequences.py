"""Sequences of the Open Inference Protocol, as NVIDIA's client words them, and as operations on the sessions they are.

A sequence's session is named by its model and its id, so a name tells both. One request may be several operations: a
START ends what is live, opens a session and steps it; an END closes it behind the step.
"""

from __future__ import annotations

import json
import random
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import tritonclient.http as triton

from tests.histories import panel
from tests.histories.history import History
from tests.histories.network import KINDS, LATEST
from tests.histories.operation import Answered, Asked, Inputs, Operation, Verb, Way
from tests.histories.sender import Reply
from tests.histories.wording import NOTHING_APPLIED
from tests.triton_client.clients import tensors

_Made = dict[str, np.ndarray[Any, Any]]

ENDED = {"was closed": (410, "session_closed"), "was idle": (410, "session_expired")}
"""What a sentence says of a sequence that has not started; otherwise nobody knows it."""
NOT_STARTED = "must specify the START flag"
CODES = {413: "too_large", 429: "overloaded", 503: "draining", 500: "run_failed", 404: "unknown_model"}


class SequenceName(NamedTuple):
    """What a session's name says: whose it is, and its id."""

    model: str
    sequence_id: int | str


def name_of(model: str, number: int, seed: int) -> str:
    """The session of a sequence, of which some have numbers and others texts as ids."""
    return f"{model}:s:{seed}-{number}" if number % 4 == 1 else f"{model}:{1000 * (seed + 1) + number}"


def read_name(session_id: str) -> SequenceName | None:
    """None = it is no sequence's name."""
    model, _, rest = session_id.partition(":")
    if not rest:
        return None
    return SequenceName(model, rest.removeprefix("s:") if rest.startswith("s:") else int(rest))


class Request(NamedTuple):
    """A request to ``infer``, as bytes."""

    path: str
    body: bytes
    headers: dict[str, str]


class SequenceRequest(NamedTuple):
    """What is asked.

    Attributes:
        flaw: the datatype is not the model's.
        context: of a START.
    """

    session_id: str
    inputs: Inputs
    seq: int | None
    starts: bool
    ends: bool
    ttl_seconds: float | None
    context: tuple[int, ...]
    flaw: str

    @property
    def sequence(self) -> SequenceName:
        """Its model and id."""
        found = read_name(self.session_id)
        assert found is not None
        return found

    def request(self, generator: random.Random) -> Request:
        """The same as the client sends it: tensors in binary or JSON, either way."""
        model, sequence_id = self.sequence
        in_binary, out_binary = generator.random() < 0.5, generator.random() < 0.5
        parameters = {"seq": self.seq, "ttl_seconds": self.ttl_seconds}
        body, json_size = triton.InferenceServerClient.generate_request_body(
            tensors(triton, self._arrays(), binary_data=in_binary),
            outputs=[triton.InferRequestedOutput(name, binary_data=out_binary) for name in _outputs(model)],
            sequence_id=sequence_id,
            sequence_start=self.starts,
            sequence_end=self.ends,
            parameters={name: value for name, value in parameters.items() if value is not None},
        )
        headers = {} if json_size is None else {"Inference-Header-Content-Length": str(json_size)}
        return Request(f"/v2/models/{model}/infer", body, headers)

    def _arrays(self) -> _Made:
        steps, model = np.array(self.inputs), self.sequence.model
        dtype = np.float64 if self.flaw else np.float32
        if model != "panel":
            return {"x": steps[None].astype(dtype)}
        *loads, codes = steps.T  # of the width of another model, the loads are too few
        load = np.array(loads).T.reshape(1, len(steps), len(loads), 1)
        made = {"load": load.astype(dtype), "code": codes[None].astype(np.int64)}
        if self.starts and self.context:
            made["who"] = np.array([self.context[:2]], np.float32)
            made["region"] = np.array([self.context[2]], np.int64)
        return made

    def operations(self, history: History, replica: int) -> list[Operation]:
        """What it does to its session, one after the other."""
        model, _ = self.sequence
        step = Asked(Verb.STEP, self.session_id, model, inputs=self.inputs, seq=self.seq, way=Way.SEQUENCE)
        clear = Asked(Verb.CLEAR, self.session_id, model)
        asked = [replace(step, flaw=self.flaw)]
        if self.starts:
            opening = replace(clear, verb=Verb.OPEN, ttl_seconds=self.ttl_seconds, context=self.context)
            asked = [clear, replace(opening, way=Way.SEQUENCE), replace(step, seq=0)]
        asked += [clear] if self.ends else []
        begun: list[Operation] = []
        for each in asked:
            begun.append(history.call(each, replica, [other.number for other in begun]))
        return begun


def _outputs(model: str) -> tuple[str, ...]:
    return ("total", "parts", "last") if model == "panel" else ("y",)


def close(history: History, request: SequenceRequest, begun: Sequence[Operation], reply: Reply | None) -> Operation:
    """Keep what a reply says of the operations of a request; returns the step's."""
    answered = None if reply is None else read_reply(request, reply)
    *before, step = begun[: 3 if request.starts else 1]
    behind = begun[len(before) + 1 :]
    if answered is None or not request.starts or answered.status == 200:
        done = None if answered is None else Answered(200)
        refused = answered is not None and answered.status != 200
        for each in before:
            opened = {"model": request.sequence.model, "version": LATEST[request.sequence.model], "steps": 0}
            is_open = each.asked.verb is Verb.OPEN
            history.close(each, done if done is None or not is_open else Answered(201, content=opened))
        kept = history.close(step, answered)
        for each in [] if refused else behind:
            history.close(each, done)
        return kept
    first, second, *_ = before
    if answered.code == "session_exists":
        # Another's was there, or came when what was live had been ended.
        history.close(first, None)
        return history.close(replace(second, asked=first.asked), answered)
    if answered.code in ("invalid_input", "too_large", "unknown_model"):
        # Found before anything was done.
        return history.close(replace(first, asked=replace(first.asked, flaw=_flaw(request))), answered)
    if NOTHING_APPLIED in answered.content["detail"]:
        return history.close(step, answered)
    # Somebody else came between, or there was no room: what was live may have ended, and what was begun was undone.
    for each in before:
        history.close(each, None)
    history.close(history.call(before[0].asked, step.replica, [each.number for each in before]), None)
    return step


def _flaw(request: SequenceRequest) -> str:
    """What is wrong with a START of itself."""
    kind = KINDS[request.sequence.model, LATEST[request.sequence.model]]
    fits = all(len(step) == kind.num_features for step in request.inputs)
    is_whole = fits and len(request.context) == kind.num_context and not request.flaw
    return "" if is_whole else "invalid_input"


def read_reply(request: SequenceRequest, reply: Reply) -> Answered | None:
    """What a reply says, in the words of the contract; None = that nobody knows."""
    if reply.status != 200:
        return _refused(json.loads(reply.body)["error"], reply.status)
    length = reply.headers.get("inference-header-content-length")
    result = triton.InferenceServerClient.parse_response_body(reply.body, header_length=length and int(length))
    told = result.get_response()["parameters"]
    outputs = {name: result.as_numpy(name) for name in _outputs(request.sequence.model)}
    content = {"session_id": request.session_id, "seq": told["seq"], "steps": told["steps"]}
    if "output_steps" in told:
        content["output_steps"] = json.loads(told["output_steps"])
    assert told["sequence_id"] == request.sequence.sequence_id
    return Answered(200, content={**content, "outputs": _numbers(outputs, len(request.inputs))})


def _numbers(outputs: Mapping[str, np.ndarray[Any, Any]], num_steps: int) -> tuple[Any, ...]:
    if "y" in outputs:
        return tuple(int(number) if number.is_integer() else number for number in outputs["y"].ravel().tolist())
    total, parts, last = outputs["total"], outputs["parts"], outputs["last"]
    shown = {
        "total": total.reshape(num_steps, 1).tolist(),
        "parts": parts.reshape(num_steps, 2, 1).tolist(),
        "last": last.reshape(1, 1).tolist(),
    }
    numbers: tuple[Any, ...] = panel.read_outputs(shown)
    return numbers


def _refused(sentence: str, status: int) -> Answered | None:
    content: dict[str, Any] = {"detail": sentence}
    if status == 504 or (status == 503 and "store" in sentence and NOTHING_APPLIED not in sentence):
        return None
    if status == 400 and NOT_STARTED in sentence:
        found = next((said for words, said in ENDED.items() if words in sentence), (404, "unknown_session"))
        return Answered(*found, content=content)
    if status == 400:
        return Answered(422, "invalid_input", content)
    if status == 409:
        expected = re.search(r"expected_seq[^0-9]*(\d+)", sentence)
        if expected is None:
            return Answered(409, "session_exists", content)
        return Answered(409, "seq_conflict", {**content, "expected_seq": int(expected[1])})
    if status == 503 and "store" in sentence:
        return Answered(503, "state_store_unavailable", content)
    return Answered(status, CODES.get(status, "unheard of"), content)


def model_of(session_id: str) -> str:
    """Whose sequence has that name."""
    found = read_name(session_id)
    assert found is not None
    return found.model


def sequences_of(names: Sequence[tuple[str, str]]) -> Iterator[str]:
    """The names that are sequences'."""
    return (name for pair in names for name in pair if read_name(name) is not None)
