"""The wording of answers: what the service's bytes say, in values that a judge can compare."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from pyarrow import ipc
from safetensors.numpy import load

from ostinato.service.edge.problems import PROBLEMS
from tests.faults.http_sender import ARROW
from tests.histories import panel
from tests.histories.network import KINDS
from tests.histories.operation import Answered, StateFile
from tests.histories.sender import Reply

STATUS = {code: status for status, code in PROBLEMS.values()} | {"internal": 500}
STATE = "application/octet-stream"
NOTHING_APPLIED = "nothing was applied"


def read_answer(reply: Reply) -> Answered | None:
    """What a reply says; None = it says that nobody knows."""
    if reply.status == 204 or reply.media_type == STATE:
        return Answered(reply.status)
    content = reply.content
    if reply.status >= 400:
        return _refused(content)
    return Answered(reply.status, content=shown(content))


def _refused(problem: Mapping[str, Any]) -> Answered | None:
    code = problem["code"]
    status = STATUS[code]
    if problem.get("status", status) != status:
        code = f"{code} with status {problem['status']}"
    if status == 504 or (code == "state_store_unavailable" and NOTHING_APPLIED not in problem["detail"]):
        return None
    told = ("expected_seq", "source", "offset", "detail")
    return Answered(status, code, {name: problem[name] for name in told if name in problem})


def shown(content: Mapping[str, Any]) -> dict[str, Any]:
    """The members of an answer, in numbers that can be compared."""
    made = {name: value for name, value in content.items() if name not in ("opened_at", "id")}
    if "outputs" in made:
        made["outputs"] = read_outputs(made["outputs"])
    for name in ("output_before", "output_after"):
        if made.get(name) is not None:
            made[name] = tuple(made[name])
    if "expires_at" in made:
        told = made["expires_at"]
        made["expires_at"] = float("inf") if told is None else datetime.fromisoformat(told).timestamp()
    return made


def read_outputs(rows: Sequence[Sequence[float]] | Mapping[str, Any]) -> tuple[Any, ...]:
    """The numbers that some steps gave, whatever tensors they stand in."""
    if isinstance(rows, Mapping):
        return panel.read_outputs(rows)
    return tuple(int(value) if float(value).is_integer() else value for (value,) in rows)


def read_frame(content: Mapping[str, Any]) -> Answered | None:
    """What the answer to a frame says; None = that nobody knows."""
    return _refused(content["error"]) if "error" in content else Answered(200, content=shown(content))


def read_columns(reply: Reply | None, num_rows: int) -> list[Answered | None]:
    """What a columnar answer says of each row."""
    if reply is None:
        return [None] * num_rows
    if reply.status != 200:
        return [_refused(reply.content)] * num_rows
    if reply.media_type.startswith(ARROW):
        return _rows_of_arrow(reply.body)
    content = reply.content
    outputs = content["outputs"]
    rows = panel.each_step(outputs) if isinstance(outputs, dict) else [each and [each] for each in outputs]
    answers = [
        None if seq is None else _row(name, seq, output or [])
        for name, seq, output in zip(content["session_ids"], content["seq"], rows, strict=True)
    ]
    refused: list[Answered | None] = list(answers)
    for error in content["errors"]:
        refused[error["row"]] = _refused(error)
    return refused


def read_columns_frame(answer: Mapping[str, Any] | bytes | None, num_rows: int) -> list[Answered | None]:
    """The same of a binary frame, row by row."""
    if isinstance(answer, bytes):
        return _rows_of_arrow(answer)
    return [None if answer is None else _refused(answer["error"])] * num_rows


def _rows_of_arrow(body: bytes) -> list[Answered | None]:
    columns = ipc.open_stream(body).read_all().to_pydict()
    codes = columns.get("code", [None] * len(columns["session_id"]))
    details = columns.get("detail", codes)
    return [
        _refused({"code": code, "detail": detail}) if code else _row(name, seq, _one_step(output))
        for name, seq, output, code, detail in zip(
            columns["session_id"], columns["seq"], columns["outputs"], codes, details, strict=True
        )
    ]


def _one_step(output: Sequence[float] | Mapping[str, Any] | None) -> Sequence[Sequence[float]] | Mapping[str, Any]:
    if output is None:  # a step that completes no frame
        return []
    return {name: [value] for name, value in output.items()} if isinstance(output, Mapping) else [output]


def _row(session_id: str, seq: int, outputs: Sequence[Sequence[float]] | Mapping[str, Any]) -> Answered:
    return Answered(200, content={"session_id": session_id, "seq": seq, "outputs": read_outputs(outputs)})


def read_file(body: bytes) -> tuple[StateFile, Answered]:
    """A state file, and what it says."""
    header = json.loads(body[8 : 8 + int.from_bytes(body[:8], "little")])
    metadata, tensors = header["__metadata__"], load(body)
    model, said = metadata["model"], metadata.get("last_output")
    context: tuple[int, ...] = ()
    if model == "panel":
        state, context = panel.read_tensors(tensors)
        last = None if said is None else panel.read_last_output(said)
    else:
        (state,) = tensors[f"{model}-state"].tolist()
        kind = KINDS[model, metadata["version"]]
        if kind.hop:
            held = tensors["x.left_over"].ravel().tolist()[: kind.num_held(int(metadata["steps"]))]
            state = (state, *map(int, held)) if held else state
        last = None if said is None else int(json.loads(said)[0])
    file = StateFile(model, state, int(metadata["steps"]), last, context)
    content = {"model": file.model, "version": metadata["version"], "steps": file.steps}
    return file, Answered(200, content={**content, "state": state, "context": context, "last_output": last})
