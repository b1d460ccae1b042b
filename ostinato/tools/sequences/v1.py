"""The service's own protocol: sessions are opened, stepped and closed by requests of their own, in JSON."""

from __future__ import annotations

import json
from typing import Any

import numpy as np

from ostinato.client.async_client import AsyncClient
from ostinato.errors import WrongAnswer
from ostinato.tools.connection import PlainAnswer, http_request
from ostinato.tools.load import Script
from ostinato.tools.model_shape import ModelShape
from ostinato.tools.sequences.course import Course
from ostinato.tools.sequences.drawn import DrawnSequence, SteppedModel
from ostinato.tools.sequences.protocol import ReadAnswer, SequenceProtocol


class V1Protocol(SequenceProtocol):
    """Sessions under ``/v1``. Use ``connect``."""

    title = "HTTP JSON under /v1"

    @classmethod
    async def connect(cls, url: str, model: str) -> V1Protocol:
        """Ask a service what a model takes.

        Raises:
            ServiceUnreachable: nobody answers there.
            CommandError: the model is not there, or has no sessions.
        """
        protocol = cls(url)
        async with AsyncClient(f"http://{protocol.host}", patience_seconds=0.0) as client:
            found = await client.model(model)
            shape = ModelShape.of(found)
        outputs = tuple(found["manifest"]["outputs"])
        protocol.model = SteppedModel(shape.name, shape.version, shape.inputs, shape.context, outputs)
        return protocol

    def script(self, number: int, sequence: DrawnSequence, course: Course) -> Script:
        """See ``SequenceProtocol``."""
        opening: dict[str, Any] = {"session_id": self._session_id(number), "version": self.model.version}
        if sequence.context:
            opening["context"] = {
                part["name"]: _nested(sequence.context[part["name"]], part["shape"]) for part in self.model.context
            }
        requests = [self._post(f"/v1/models/{self.model.name}/sessions", opening)]
        for portion in course.portions:
            rows = sequence.rows(portion.places)
            inputs = rows if len(rows) > 1 else next(iter(rows.values()))
            requests.append(self._post(f"/v1/sessions/{self._session_id(number)}/step", {"inputs": inputs}))
        steps = [0, *(len(portion.places) for portion in course.portions)]
        if course.again_from:
            return Script(requests, steps, course.again_from + 1)
        return Script([*requests, self.end(number, sequence)], [*steps, 0])

    def end(self, number: int, sequence: DrawnSequence) -> bytes:
        """See ``SequenceProtocol``."""
        del sequence
        return http_request("DELETE", f"/v1/sessions/{self._session_id(number)}", host=self.host)

    def read(self, answer: PlainAnswer) -> ReadAnswer:
        """See ``SequenceProtocol``."""
        parts = self.model.outputs
        try:
            content = json.loads(answer.body)
            outputs = content["outputs"] if len(parts) > 1 else {parts[0]["name"]: content["outputs"]}
            return ReadAnswer(
                {part["name"]: np.array(outputs[part["name"]], part["dtype"]) for part in parts}, content["steps"]
            )
        except (ValueError, KeyError, TypeError) as error:
            raise WrongAnswer(f"not an answer to steps ({error!r}): {answer.body[:200]!r}") from error

    def refusal(self, answer: PlainAnswer) -> str:
        """See ``SequenceProtocol``."""
        try:
            return str(json.loads(answer.body)["detail"])
        except (ValueError, KeyError, TypeError):
            return answer.body[:200].decode(errors="replace")

    def _session_id(self, number: int) -> str:
        return f"bench-{self._first_id + number}"

    def _post(self, target: str, content: Any) -> bytes:
        return http_request("POST", target, json.dumps(content).encode(), host=self.host)


def _nested(numbers: list[float], shape: list[Any]) -> Any:
    """A context's numbers, nested as it is."""
    return np.reshape(numbers, [axis for axis in shape if axis != "B"] or [1]).tolist()
