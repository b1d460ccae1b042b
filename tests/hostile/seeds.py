"""Seeds: well-formed bodies, queries, frames and cursors, from which all mutations begin."""

from __future__ import annotations

import msgspec

from ostinato.service.edge.v1 import forecast_bodies, schemas
from ostinato.service.edge.v1.schemas import Body

STEP = b'{"inputs": [[0.1, -2, 3e-4], [4, 5, 6]], "seq": 7, "return_sequences": false}'
PREDICT = (
    b'{"sequences": [[[1, 2, 3]], [[4, 5, 6], [7, 8, 9.5]]], "return_sequences": true, "return_state": true, '
    b'"go_backwards": false, "version": "1", "initial_state": {"h": [1, 2, 3], "count": 4}}'
)
FORECAST = b'{"horizon": 3, "known_future": {"a": [1, null, 3]}}'
GENERATE = (
    b'{"inputs": ["word", [1, 2], [[0.5, 1, 2]]], "max_steps": 4, "method": "sample", "num_beams": 2, '
    b'"length_penalty": 1.5, "num_return": 1, "temperature": 0.5, "top_k": 3, "top_p": 0.9, "seed": 5, '
    b'"return_attention": true, "return_log_probs": true, "stream": false, "version": "1"}'
)
OPEN = b'{"session_id": "a.b:c-d_1", "ttl_seconds": 60.5, "version": "1"}'

NESTED = b'{"inputs": {"words": ["a", "b"], "numbers": [[1, [2, null]], [3, [4, 5]]]}}'

BODIES: dict[type[Body], list[bytes]] = {
    schemas.NestedStepBody: [NESTED],
    schemas.NestedStepInput: [NESTED[:-1] + b', "session_id": "a"}'],
    schemas.NestedColumnsBody: [NESTED[:-1] + b', "session_ids": ["a", "b"]}'],
    schemas.NestedPredictBody: [b'{"sequences": [{"words": ["a"], "numbers": [[1]]}, [[1]]], "initial_state": null}'],
    schemas.NestedPredictInput: [
        b'{"sequences": [["a", "b"]], "model": "lstm"}',
        b'{"sequences": [{"a": [[[1, 2, 3]]]}, [[["wet"]]]], "context": [{"b": 1}, null], "model": "lstm"}',
    ],
    schemas.StepBody: [STEP, b'{"inputs": [[1, 2, 3]]}'],
    schemas.StepInput: [STEP[:-1] + b', "session_id": "a"}'],
    schemas.ColumnsBody: [
        b'{"session_ids": ["a", "b"], "inputs": [[1, 2, 3], [4, 5, 6]], "seq": [0, null], "create_missing": true}'
    ],
    schemas.OpenBody: [OPEN, b"{}", b'{"from": "warm"}'],
    schemas.CheckpointBody: [b'{"name": "warm"}'],
    schemas.MigrateBody: [b'{"version": "2"}'],
    schemas.ForkBody: [b'{"session_id": "b", "ttl_seconds": 0}'],
    schemas.ResetBody: [b"{}"],
    schemas.DecisionBody: [b'{"version": "1"}'],
    schemas.CanaryBody: [b'{"version": "1", "share": 0.1}'],
    schemas.UnloadBody: [b'{"sessions": "migrate", "version": "1"}', b"{}"],
    schemas.ShadowBody: [b'{"version": "2", "share": 0.1}', b'{"version": "1"}'],
    schemas.PredictBody: [PREDICT, b'{"sequences": [[[1]]], "initial_state": [null, {"h": [1, 2, 3]}]}'],
    schemas.PredictInput: [PREDICT[:-1] + b', "model": "lstm"}'],
    schemas.ForecastBody: [FORECAST, b'{"horizon": 2, "known_future": [[1, 2], [3, null]]}'],
    schemas.ForecastInput: [FORECAST[:-1] + b', "session_id": "a"}'],
    forecast_bodies.ForecastManyBody: [
        b'{"session_ids": ["a", "b"], "horizon": 3, "level": [80, 95.5], "quantiles": [0.1], "num_samples": 2}'
    ],
    schemas.GenerateBody: [GENERATE, b"{}"],
    schemas.GenerateInput: [GENERATE[:-1] + b', "model": "letters"}'],
    schemas.GenerateStreamInput: [GENERATE.replace(b"false", b"true")[:-1] + b', "model": "letters"}'],
    schemas.ScoreBody: [b'{"targets": ["word", [1, 2]], "inputs": [[0.5], "w"], "version": "1"}'],
}
"""The body of each route."""

QUERIES: dict[type[Body], list[bytes]] = {
    schemas.PageQuery: [b"model=lstm&limit=10&cursor=AAAA", b""],
    schemas.CheckpointQuery: [b"limit=10&cursor=AAAA", b""],
    forecast_bodies.ForecastManyQuery: [b"horizon=3&level=80,95&quantiles=0.1&num_samples=2&seed=7", b"horizon=1"],
    schemas.ModelQuery: [b"version=1", b""],
    schemas.ColumnsQuery: [b"create_missing=true"],
    schemas.PredictQuery: [b"return_sequences=false&go_backwards=1&version=1"],
}

FRAMES = [
    b'{"session_id": "a", "inputs": [[1, 2, 3], [4, 5, 6]], "seq": 0, "id": 5}',
    b'{"session_id": "a", "inputs": [[1, 2, 3]], "id": "five", "return_sequences": false}',
]

CURSORS = [msgspec.json.encode(position) for position in ((0, 5), "session-5", (1, 2**40, ("a", "b")))]
