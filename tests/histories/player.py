"""A player: one client that asks all there is to be asked of a few sessions, one request after the other, by chance."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from safetensors.numpy import save

from tests.faults.http_sender import ARROW, arrow_message
from tests.histories import panel, sequences
from tests.histories.history import History, Walk
from tests.histories.network import CONTEXT_SIZES, KINDS, MODULUS, WIDTHS
from tests.histories.operation import Answered, Asked, Inputs, Operation, StateFile, Verb, Way
from tests.histories.sender import NotSent, Reply, Sender
from tests.histories.wording import (
    STATE,
    read_answer,
    read_columns,
    read_columns_frame,
    read_file,
    read_frame,
    read_outputs,
    shown,
)

LIMIT = 3
"""Rows of a page of a list: a walk has several pages."""

INVALID_INPUTS: tuple[object, ...] = ([], [[]], "x", [["x"]], [[None]], [[1e39]], [3], None)
"""None of them is a chunk of any model."""

INVALID, TOO_LARGE, WRONG_TYPE = "invalid_input", "too_large", "unsupported_media_type"
LIMITS = {"max_chunk_steps": 80, "max_horizon": 50}
"""Settings of the services."""

CHUNK_STEPS = (1, 1, 1, 2, 3, 70)
"""Beyond 64 a chunk runs in more than one iteration."""


MATCHING_SHARE = 0.95
"""Of requests that name a model, those whose inputs are as wide as it wants them."""


@dataclass
class Belief:
    """What clients were last told of a session."""

    model: str = "narrow"
    steps: int = 0
    last: tuple[int, Inputs] = (0, ())
    place: tuple[str, int, int] | None = None
    offset: int = 0


EVERYTHING = {
    "step": 36.0,
    "columns": 10,
    "frames": 9,
    "open": 12,
    "close": 6,
    "reset": 4,
    "look": 6,
    "forecast": 4,
    "get_state": 4,
    "put_state": 5,
    "fork": 4,
    "migrate": 4,
    "walk": 2,
    "predict": 1,
    "sequence": 14,
}
"""How often what is asked, relative to each other."""

STEADY = {
    "step": 30.0,
    "columns": 10,
    "frames": 5,
    "open": 1,
    "reset": 3,
    "migrate": 3,
    "get_state": 5,
    "look": 5,
    "sequence": 12,
}
"""The same where sessions live on, so that what was done twice is not soon forgotten."""


class Player:
    """A client of replicas.

    Args:
        names: of the sessions that it plays with, in pairs: a session, and what it is forked to.
        beliefs: shared by the clients of a history.
        verbs: the names of its methods, and how often each is chosen, relative to the others.
        ttl_seconds: times to live of which one is chosen; None = the request does not say.
        serving: while it is not set, nothing is asked.
    """

    def __init__(
        self,
        history: History,
        sender: Sender,
        generator: random.Random,
        names: Sequence[tuple[str, str]],
        beliefs: dict[str, Belief],
        *,
        num_replicas: int,
        verbs: Mapping[str, float],
        ttl_seconds: Sequence[float | None],
        serving: asyncio.Event,
    ) -> None:
        self._history, self._sender, self._random = history, sender, generator
        self._names, self._beliefs = names, beliefs
        self._num_replicas, self._verbs, self._ttl_seconds = num_replicas, verbs, ttl_seconds
        self._serving = serving
        self._start_share = 0.1 if "close" in verbs else 0.02
        self._files: list[tuple[StateFile, bytes]] = []

    async def play(self, num_requests: int) -> None:
        """Ask so often."""
        for verb in self._random.choices(list(self._verbs), list(self._verbs.values()), k=num_requests):
            await self._serving.wait()
            await getattr(self, verb)(self._random.randrange(self._num_replicas))

    async def open(self, replica: int) -> None:
        """Open a session, or one that is there."""
        name = self._name()
        model, version = self._random.choice(list(KINDS))
        if self._chance(0.3):
            version = self._random.choice(["1", "1", "9"])
        named = None if self._chance(0.3) else version
        asked = Asked(
            Verb.OPEN,
            name,
            model,
            named,
            self._random.choice(self._ttl_seconds),
            flaw=self._flaw(0.04),
            context=self._context(model),
        )
        body: dict[str, Any] = {"session_id": name, "version": named, "ttl_seconds": asked.ttl_seconds}
        body = {key: value for key, value in body.items() if value is not None}
        if asked.context:
            body["context"] = panel.context_object(asked.context)
        if asked.flaw:
            body |= self._random.choice([{"ttl_seconds": -1}, {"version": 1}, {"nothing": 1}, {"ttl_seconds": "long"}])
        done = await self._do(asked, replica, "POST", f"/v1/models/{model}/sessions", body)
        if done and done.answered and done.answered.status == 201:
            self._beliefs[name] = Belief(model)

    async def step(self, replica: int) -> None:
        """Apply a chunk, in one of many wrong and right ways."""
        name = self._name()
        inputs, seq = self._chunk(self._belief(name))
        flaw = self._flaw(0.06, TOO_LARGE)
        if flaw == TOO_LARGE:
            inputs = self._inputs(len(inputs[0]), LIMITS["max_chunk_steps"] + 1)
        seq, place = self._place(self._belief(name), inputs, seq)
        asked = Asked(Verb.STEP, name, inputs=inputs, seq=seq, flaw=flaw, place=place)
        body: dict[str, Any] = {"inputs": self._worded(asked), **_said(asked)}
        self._learn(await self._do(asked, replica, *self._route(name, "step", body)))

    async def columns(self, replica: int) -> None:
        """A message of a step for each of several sessions, in JSON or Arrow, over HTTP or on a stream."""
        in_arrow, creates, on_stream = self._chance(0.5), self._chance(0.4), self._chance(0.3)
        model = self._random.choice(list(WIDTHS))
        names = [self._name() for _ in range(self._random.randint(1, 5))]
        width = self._width(model)
        chunks = [self._chunk(self._belief(name), width=width, num_steps=1) for name in names]
        has_seq = self._chance(0.7)
        rows = [(chunk, seq if has_seq else None) for chunk, seq in chunks]
        way = Way.ARROW if in_arrow else Way.COLUMNS
        asked = [
            Asked(Verb.STEP, name, model, None, inputs=chunk, seq=seq, way=way, creates=creates)
            for name, (chunk, seq) in zip(names, rows, strict=True)
        ]
        begun: list[Operation] = []
        for each in asked:
            earlier = [other.number for other in begun if other.asked.session_id == each.session_id]
            begun.append(self._history.call(each, replica, earlier))
        seqs = [seq for _, seq in rows]
        query = f"create_missing={str(creates).lower()}"
        inputs = tuple(chunk[0] for chunk, _ in rows)
        message = _arrow_message(names, inputs, seqs)
        try:
            if in_arrow and on_stream:
                path = f"/v1/models/{model}/stream?{query}"
                (answer,) = await self._sender.frames(replica, path, [message])
                answers = read_columns_frame(answer, len(names))
            elif in_arrow:
                path = f"/v1/models/{model}/step?{query}"
                answers = read_columns(
                    await self._sender.ask(replica, "POST", path, content=message, media_type=ARROW), len(names)
                )
            else:
                body = {"session_ids": names, "inputs": _inputs_in_json(inputs), "create_missing": creates}
                path = f"/v1/models/{model}/step"
                answers = read_columns(
                    await self._sender.ask(replica, "POST", path, json=body | ({"seq": seqs} if has_seq else {})),
                    len(names),
                )
        except NotSent:
            return
        for operation, answered in zip(begun, answers, strict=True):
            self._learn(self._history.close(operation, answered))

    async def frames(self, replica: int) -> None:
        """Some frames on a stream, one right behind the other."""
        model, creates = self._random.choice(list(WIDTHS)), self._chance(0.5)
        begun: list[Operation] = []
        frames: list[dict[str, Any]] = []
        ahead: dict[str, int] = {}
        for _ in range(self._random.randint(1, 4)):
            name = self._random.choice([*ahead, self._name()])
            width = self._width(model)
            inputs, seq = self._chunk(self._belief(name), width=width, more=ahead.get(name, 0))
            asked = Asked(
                Verb.STEP,
                name,
                model,
                inputs=inputs,
                seq=seq,
                way=Way.FRAME,
                creates=creates,
                flaw=self._flaw(0.04),
            )
            seq, place = self._place(self._belief(name), inputs, seq)
            asked = replace(asked, seq=seq, place=place)
            ahead[name] = ahead.get(name, 0) + len(inputs)
            earlier = [other.number for other in begun if other.asked.session_id == name]
            begun.append(self._history.call(asked, replica, earlier))
            frames.append({"session_id": name, "inputs": self._worded(asked), **_said(asked)})
        try:
            path = f"/v1/models/{model}/stream?create_missing={str(creates).lower()}"
            answers = await self._sender.frames(replica, path, frames)
        except NotSent:
            return
        for operation, content in zip(begun, answers, strict=True):
            assert not isinstance(content, bytes)
            self._learn(self._history.close(operation, None if content is None else read_frame(content)))

    async def sequence(self, replica: int) -> None:
        """A step of a sequence by the Open Inference Protocol, with which it may start or end."""
        names = list(sequences.sequences_of(self._names))
        if not names:
            return
        name = self._random.choice(names)
        model, belief = sequences.model_of(name), self._belief(name)
        starts = self._chance(self._start_share) or (belief.model, belief.steps) == ("narrow", 0)
        inputs, seq = self._chunk(belief, width=self._width(model))
        request = sequences.SequenceRequest(
            name,
            inputs,
            0 if starts and self._chance(0.5) else None if starts else seq,
            starts=starts,
            ends=self._chance(self._start_share / 2),
            ttl_seconds=self._random.choice(self._ttl_seconds) if starts else None,
            context=self._context(model) if starts else (),
            flaw=self._flaw(0.04),
        )
        begun = request.operations(self._history, replica)
        path, body, headers = request.request(self._random)
        reply = await self._ask(replica, "POST", path, content=body, headers=headers)
        if not isinstance(reply, NotSent):
            self._learn(sequences.close(self._history, request, begun, reply))

    async def close(self, replica: int) -> None:
        """End a session."""
        await close_session(self._history, self._sender, self._name(), replica)

    async def look(self, replica: int) -> None:
        """Look at a session."""
        name = self._name()
        self._learn(await self._do(Asked(Verb.LOOK, name), replica, "GET", f"/v1/sessions/{name}"))

    async def reset(self, replica: int) -> None:
        """Set a session back."""
        name = self._name()
        asked = Asked(Verb.RESET, name, flaw=self._flaw(0.1))
        body = {"steps": 3} if asked.flaw else {}
        self._learn(await self._do(asked, replica, "POST", f"/v1/sessions/{name}/reset", body))

    async def migrate(self, replica: int) -> None:
        """Have a session go on by another version; of most models there is one alone."""
        name, flaw = self._name(), self._flaw(0.05)
        version = self._random.choice(["1", "2", "2", "3"])
        asked = Asked(Verb.MIGRATE, name, version=version, flaw=flaw)
        body = {} if flaw else {"version": version}
        self._learn(await self._do(asked, replica, "POST", f"/v1/sessions/{name}/migrate", body))

    async def forecast(self, replica: int) -> None:
        """Look into a session's future."""
        name = self._name()
        flaw = self._flaw(0.1, TOO_LARGE)
        horizon = {"": self._random.randint(1, 4), TOO_LARGE: LIMITS["max_horizon"] + 1}.get(flaw, 0)
        num_known = KINDS[self._belief(name).model, "1"].num_known
        future = self._inputs(num_known, max(horizon - 1, 0)) if num_known == 2 and self._chance(0.9) else None
        asked = Asked(Verb.FORECAST, name, horizon=horizon, flaw=flaw, future=future)
        body = {"horizon": horizon, **({} if future is None else {"known_future": panel.future_object(future)})}
        await self._do(asked, replica, *self._route(name, "forecast", body))

    async def get_state(self, replica: int) -> None:
        """Take a session's state, to put it somewhere later."""
        taken = await take_state(self._history, self._sender, self._name(), replica)
        if taken is not None:
            self._files.append(taken)

    async def put_state(self, replica: int) -> None:
        """Put a state that was taken, or was made up: without metadata a file does not count steps."""
        name = self._name()
        if self._files and self._chance(0.6):
            file, content = self._random.choice(self._files[-4:])
        else:
            model = self._belief(name).model if self._chance(0.8) else self._random.choice(list(WIDTHS))
            file = StateFile(model, self._random.randrange(MODULUS), context=self._context(model))
            content = _file_content(file)
        asked = Asked(Verb.PUT, name, file=file, flaw=self._flaw(0.06, WRONG_TYPE))
        if asked.flaw == INVALID:
            content = content[: len(content) // 2]
        media_type = "application/json" if asked.flaw == WRONG_TYPE else STATE
        operation = self._begin(asked, replica)
        reply = await self._ask(replica, "PUT", f"/v1/sessions/{name}/state", content=content, media_type=media_type)
        if not isinstance(reply, NotSent):
            self._learn(self._history.close(operation, None if reply is None else read_answer(reply)))

    async def fork(self, replica: int) -> None:
        """Open a copy of a session."""
        source, target = self._random.choice(self._names)
        ttl_seconds = self._random.choice(self._ttl_seconds)
        copy = self._begin(Asked(Verb.COPY, source), replica)
        asked = Asked(Verb.PASTE, target, source=copy.number, ttl_seconds=ttl_seconds)
        paste = self._history.call(asked, replica, [copy.number])
        body = {"session_id": target, **({} if ttl_seconds is None else {"ttl_seconds": ttl_seconds})}
        reply = await self._ask(replica, "POST", f"/v1/sessions/{source}/fork", json_body=body)
        if isinstance(reply, NotSent):
            return
        answered = None if reply is None else read_answer(reply)
        if answered is not None and answered.code in ("session_exists",):
            self._history.close(copy, Answered(201))
        else:
            self._history.close(copy, answered)
        if answered is None or answered.status in (201, 409):
            self._learn(self._history.close(paste, answered))

    async def walk(self, replica: int) -> None:
        """List the live sessions, page by page."""
        model = self._random.choice([None, None, *WIDTHS])
        called, cursor = self._history.now(), ""
        rows: list[tuple[str, dict[str, Any]]] = []
        while True:
            path = f"/v1/sessions?limit={LIMIT}&cursor={cursor}" + (f"&model={model}" if model else "")
            reply = await self._ask(replica, "GET", path)
            if reply is None or isinstance(reply, NotSent) or reply.status in (429, 503):
                return
            if reply.status != 200:
                self._history.found("*", f"a list was answered {reply.status}: {reply.body.decode()}")
                return
            rows += [(row["session_id"], shown(row)) for row in reply.content["sessions"]]
            cursor = reply.content["next_cursor"]
            if not cursor:
                break
        self._history.walks.append(Walk(called, self._history.now(), model, rows, replica))

    async def predict(self, replica: int) -> None:
        """Run whole sequences, which is no session's affair."""
        (model, version), kind = self._random.choice(list(KINDS.items()))
        sequences = [self._inputs(kind.num_features, self._random.randint(1, 5)) for _ in range(3)]
        contexts = [self._inputs(kind.num_context, 1)[0] for _ in sequences]
        body = {"sequences": [_inputs_in_json(sequence) for sequence in sequences], "version": version}
        if kind.num_context:
            body["context"] = [panel.context_object(context) for context in contexts]
        reply = await self._ask(replica, "POST", f"/v1/models/{model}/predict", json_body=body)
        if reply is None or isinstance(reply, NotSent) or reply.status in (429, 503):
            return
        expected = [kind.run(0, *each)[0] for each in zip(sequences, contexts, strict=True)]
        if reply.status != 200 or [read_outputs(made) for made in reply.content["outputs"]] != expected:
            given = f"{sequences} about {contexts} of {model}"
            self._history.found("predict", f"{given} gave {reply.body.decode()}, not {expected}")

    def _flaw(self, share: float, other: str = INVALID) -> str:
        """Mostly none."""
        return self._random.choice([INVALID, other]) if self._chance(share) else ""

    def _route(self, name: str, action: str, body: dict[str, Any]) -> tuple[str, str, dict[str, Any]]:
        """Method, path and body of what is asked of a session: by its own route, or by the typed one."""
        if self._chance(0.15):
            return "POST", f"/{action}", {"session_id": name, **body}
        return "POST", f"/v1/sessions/{name}/{action}", body

    def _width(self, model: str) -> int:
        """Mostly that which a model wants."""
        if self._chance(MATCHING_SHARE):
            return WIDTHS[model]
        return self._random.choice([width for width in WIDTHS.values() if width != WIDTHS[model]])

    def _context(self, model: str) -> tuple[int, ...]:
        """Mostly what a model needs, and otherwise none."""
        return self._inputs(CONTEXT_SIZES[model], 1)[0] if self._chance(MATCHING_SHARE) else ()

    def _chance(self, share: float) -> bool:
        return self._random.random() < share

    def _name(self) -> str:
        pair = self._random.choice(self._names)
        return pair[0] if self._chance(0.8) else pair[1]

    def _belief(self, name: str) -> Belief:
        return self._beliefs.setdefault(name, Belief())

    def _inputs(self, width: int, num_steps: int) -> Inputs:
        return tuple(tuple(self._random.randrange(1000) for _ in range(width)) for _ in range(num_steps))

    def _chunk(
        self, belief: Belief, *, width: int | None = None, num_steps: int | None = None, more: int = 0
    ) -> tuple[Inputs, int | None]:
        """A chunk and its ``seq``: what fits, what was sent before, or neither. ``more``: steps under way."""
        if width is None:
            width = self._width(belief.model)
        seq, inputs = belief.last
        if inputs and self._chance(0.12) and num_steps in (None, len(inputs)) and len(inputs[0]) == width:
            return inputs, seq
        inputs = self._inputs(width, num_steps or self._random.choice(CHUNK_STEPS))
        if self._chance(0.35):
            return inputs, None
        if self._chance(0.15):
            return inputs, self._random.choice([0, max(0, belief.steps - 1), belief.steps + 1])
        return inputs, belief.steps + more

    def _place(self, belief: Belief, inputs: Inputs, seq: int | None) -> tuple[int | None, tuple[str, int, int] | None]:
        """The ``seq`` of a chunk, and its place in a source, as a log's entries have one that may come again and cut
        otherwise: one, both, or none.
        """
        if not self._chance(0.4):
            return seq, None
        if inputs == belief.last[1] and belief.place is not None and self._chance(0.8):
            return (seq if self._chance(0.3) else None), belief.place
        first = max(0, belief.offset + self._random.choice((1, 1, 1, 1, 4, 0, -1)))
        place = self._random.choice(("", "log/1")), first, first + len(inputs) - 1 + self._random.choice((0, 0, 2))
        return (seq if self._chance(0.3) else None), place

    def _worded(self, asked: Asked) -> object:
        return self._random.choice(INVALID_INPUTS) if asked.flaw == INVALID else _inputs_in_json(asked.inputs)

    def _begin(self, asked: Asked, replica: int) -> Operation:
        return self._history.call(asked, replica)

    async def _ask(self, replica: int, method: str, path: str, **options: Any) -> Reply | NotSent | None:
        try:
            return await self._sender.ask(replica, method, path, json=options.pop("json_body", None), **options)
        except NotSent as error:
            return error

    async def _do(self, asked: Asked, replica: int, method: str, path: str, body: object = None) -> Operation | None:
        """Carry out a request; None = nobody has heard of it."""
        operation = self._begin(asked, replica)
        reply = await self._ask(replica, method, path, json_body=body)
        if isinstance(reply, NotSent):
            return None
        return self._history.close(operation, None if reply is None else read_answer(reply))

    def _learn(self, operation: Operation | None) -> None:
        """Believe what an answer tells."""
        if operation is None or operation.answered is None:
            return
        asked, content = operation.asked, operation.answered.content
        belief = self._belief(asked.session_id)
        belief.model = content.get("model", belief.model)
        belief.steps = content.get("steps", content.get("expected_seq", belief.steps))
        if asked.verb is Verb.STEP and operation.answered.status == 200:
            belief.last = content["seq"], asked.inputs
            belief.place = asked.place
            belief.offset = belief.offset if asked.place is None else asked.place[2]
            belief.steps = content["seq"] + len(asked.inputs)


def _said(asked: Asked) -> dict[str, Any]:
    """The members that say what a step comes after, and where it is in its source."""
    said: dict[str, Any] = {} if asked.seq is None else {"seq": asked.seq}
    if asked.place is not None:
        said["source"], said["first_offset"], said["offset"] = asked.place
    return said


def _inputs_in_json(inputs: Inputs) -> object:
    """Steps, of a chunk or one for each of many sessions, as the model of their width has them."""
    return panel.inputs_object(inputs) if len(inputs[0]) == WIDTHS["panel"] else inputs


def _arrow_message(names: Sequence[str], inputs: Inputs, seqs: Sequence[int | None]) -> bytes:
    if len(inputs[0]) == WIDTHS["panel"]:
        return panel.arrow_message(names, inputs, seqs)
    return arrow_message(names, np.array(inputs, np.float32), seqs)


def _file_content(file: StateFile) -> bytes:
    """A file without metadata."""
    if file.model == "panel":
        return panel.file_of(file.state, file.context or None)
    return save({f"{file.model}-state": np.array([file.state], np.int64)})


async def take_state(history: History, sender: Sender, name: str, replica: int) -> tuple[StateFile, bytes] | None:
    """A session's state, and its bytes; None where there is none to be had."""
    operation = history.call(Asked(Verb.GET, name), replica)
    try:
        reply = await sender.ask(replica, "GET", f"/v1/sessions/{name}/state")
    except NotSent:
        return None
    if reply is None or reply.status != 200:
        history.close(operation, None if reply is None else read_answer(reply))
        return None
    file, answered = read_file(reply.body)
    history.close(operation, answered)
    return file, reply.body


async def close_session(history: History, sender: Sender, name: str, replica: int) -> None:
    """End a session."""
    operation = history.call(Asked(Verb.CLOSE, name), replica)
    try:
        reply = await sender.ask(replica, "DELETE", f"/v1/sessions/{name}")
    except NotSent:
        return
    history.close(operation, None if reply is None else read_answer(reply))
