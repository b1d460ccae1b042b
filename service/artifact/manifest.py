"""The manifest: what the service must know of a model's graphs (``model.json``, schema version 1)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import Field, ValidationError, computed_field, model_validator

from ostinato.service.artifact.tensors import Constant, Input, Nested, Output, Part, State, Tensor
from ostinato.service.artifact.vocabulary import Vocabulary
from ostinato.service.errors import ModelRejected

MANIFEST_FILE = "model.json"
GOLDEN_FILE = "golden.safetensors"

Name: TypeAlias = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$")]
FileName: TypeAlias = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$")]
Task: TypeAlias = Literal["recurrent", "sequence", "encoder_decoder", "generator"]


class Memory(Tensor):
    """What a decoder looks at in every step and never changes: its input in the decoder's graph, dtype and shape.

    ``made_by``: the encoder's output that it is, or the session's state of a recurrent model.
    """

    made_by: str


class Decoder(Part):
    """The graph ``decode``: one step of an output, from the step before it.

    ``previous``: the input for what the step before chose: codes ``[B]`` with ``num_codes``, or numbers ``[B, O]``
    that are the output of the step before. None where the graph carries that in a state.
    ``start``: what stands for the step before the first: a code, a number, or a list of numbers.
    ``stop``: the code that ends an output; None where an output ends after so many steps as were asked for.
    ``output``: a score for each code (a log-probability up to a constant), ``[B, V]``; or the numbers ``[B, O]``.
    ``states``: what is carried from step to step. ``begun_by``: state -> the encoder's output, or the session's state,
    that it begins with; one that is not named begins with its ``initial``.
    ``lengths``: the input for the true lengths of the sources, int64 ``[B]``; empty where the graph has none.
    ``lengths_made_by``: the session's state that holds them, in a recurrent model.
    ``shares_runs``: of a recurrent model's decoder, False where each output is run by itself.
    ``attention``: the output ``[B, S]`` of weights on the source's steps, ``[B, M]`` on the M places of a memory
    without steps; empty where there is none.
    """

    previous: Input | None = None
    start: Nested = 0
    stop: Annotated[int, Field(ge=0)] | None = None
    output: Output
    states: tuple[State, ...] = ()
    begun_by: dict[str, str] = Field(default_factory=dict)
    memory: tuple[Memory, ...] = ()
    lengths: str = ""
    lengths_made_by: str = ""
    attention: str = ""
    shares_runs: bool = True

    @property
    def num_codes(self) -> int | None:
        """How many codes an output may choose from; None where it is numbers."""
        return None if self.previous is None else self.previous.num_codes

    @property
    def attends_to_steps(self) -> bool:
        """Whether the attention is ``[B, S]``; where no memory has steps, it is over the places of the first."""
        return any(part.source_axis is not None for part in self.memory)

    @model_validator(mode="after")
    def _check_decoder(self) -> Decoder:
        if self.num_codes is not None:
            if self.output.num_features != self.num_codes:
                raise ValueError(f"the output scores {self.output.num_features} codes of {self.num_codes}")
            if not isinstance(self.start, int) or not 0 <= self.start < self.num_codes:
                raise ValueError(f"start {self.start!r} is none of the {self.num_codes} codes")
            if self.stop is not None and self.stop >= self.num_codes:
                raise ValueError(f"stop {self.stop} is none of the {self.num_codes} codes")
        elif self.stop is not None:
            raise ValueError("numbers have no stop code")
        if self.previous is not None and ("T" in self.previous.shape or "T" in self.output.shape):
            raise ValueError("the decoder's graph takes one step a run: its tensors have no 'T'")
        if self.attention and not self.memory:
            raise ValueError("attention needs a memory")
        if unknown := sorted(set(self.begun_by) - {state.name for state in self.states}):
            raise ValueError(f"begun_by: the decoder has no state {unknown[0]!r}")
        names = [self.lengths] * bool(self.lengths) + [part.name for part in self.memory]
        names += [state.input for state in self.states] + ([self.previous.name] if self.previous else [])
        if len(set(names)) != len(names):
            raise ValueError(f"a decoder's input is named twice among {sorted(names)}")
        return self


class GraphFile(Part):
    """An ONNX file in the version's directory."""

    file: FileName
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class Limits(Part):
    """What one request of this model may ask for. 0 = only the server's own limit counts."""

    max_chunk_steps: Annotated[int, Field(ge=0)] = 0
    max_horizon: Annotated[int, Field(ge=0)] = 0
    max_source_steps: Annotated[int, Field(ge=0)] = 0
    max_output_steps: Annotated[int, Field(ge=0)] = 0
    max_beams: Annotated[int, Field(ge=0)] = 0


class Parity(Part):
    """How near the graph comes to the trained network, and over what that was measured.

    ``max_difference`` is the largest ``|graph - network| / max(1, |network|)`` over all outputs and states.
    """

    max_difference: Annotated[float, Field(ge=0)]
    tolerance: Annotated[float, Field(gt=0)] = 1e-5
    batch_sizes: tuple[int, ...]
    lengths: tuple[int, ...]
    num_chunkings: int


class Promise(Part):
    """How a graph must be run for a row's numbers to be the same to the bit, whatever shares its run: live, in
    ``predict``, in forecasts and offline alike.

    ``any``: in any batch and however its steps are cut, with ``rows`` rows at least (2 where a batch of one is rounded
    otherwise than others; a row is then run twice); ``steps`` is 0. Offline is one run over the whole sequence.
    ``fixed``: always ``rows`` rows, of ``steps`` steps; offline, too. ``alone``: one row and one step a run.
    """

    holds: Literal["any", "fixed", "alone"]
    rows: Annotated[int, Field(ge=1, le=4096)] = 1
    steps: Annotated[int, Field(ge=0, le=1)] = 0

    @model_validator(mode="after")
    def _check_promise(self) -> Promise:
        if self.steps != (self.holds != "any"):
            raise ValueError(
                "a graph that is not run in any shape is run a step at a time: steps is 0 with 'any', else 1"
            )
        if self.holds == "alone" and self.rows != 1:
            raise ValueError("a row that is run alone is the only one: rows is 1")
        return self

    def __str__(self) -> str:
        if self.holds == "any":
            return "any" if self.rows == 1 else f"any, of {self.rows} rows at least"
        return f"fixed at {self.rows} x {self.steps}" if self.holds == "fixed" else "alone"

    @property
    def sentence(self) -> str:
        """What it means for whoever serves the model, and what it costs."""
        if self.holds == "any":
            twice = (
                f", in runs of {self.rows} rows at least: one session alone is computed twice" if self.rows > 1 else ""
            )
            return f"live answers equal one offline run, whatever shares their batch and however steps are cut{twice}"
        if self.holds == "fixed":
            return (
                f"live answers equal those of 'ostinato run', both in runs of {self.rows} rows of one step: one "
                f"session alone costs what {self.rows} do"
            )
        return "live answers equal those of 'ostinato run', both one row of one step a run: nothing shares a batch"


ANY = Promise(holds="any")
ALONE = Promise(holds="alone", steps=1)


class Manifest(Part):
    """One version of a model.

    ``graphs``: by role. A recurrent model has ``step``, and ``decode`` where its sessions forecast by a decoder of
    their own; an encoder-decoder has ``encode`` and ``decode``, a generator ``decode`` alone.
    ``inputs``, ``outputs``, ``states``: of ``step``; of an encoder-decoder, ``inputs`` is its one source.
    ``encoder_lengths``: the encoder's input for the true lengths of its sources, int64 ``[B]``; without one, sources
    share a run with sources of their own length.
    ``vocabularies``: ``source`` and ``target``, for models that take or give text.
    ``feedback``: output feature -> the input feature whose next value it predicts; empty where it predicts none.
    ``promise``: how the graphs must be run for live and offline numbers to be the same; None = found at load. Of an
    encoder-decoder and a generator it is ``any`` or ``alone``, each output by itself; of a session's decoder as well.
    """

    schema_version: Literal[1] = 1
    name: Name
    version: Name
    task: Task
    description: str = ""
    graphs: dict[str, GraphFile]
    inputs: tuple[Input, ...] = ()
    outputs: tuple[Output, ...] = ()
    states: tuple[State, ...] = ()
    constants: tuple[Constant, ...] = ()
    feedback: dict[str, str] = Field(default_factory=dict)
    encoder_lengths: str = ""
    decoder: Decoder | None = None
    vocabularies: dict[Literal["source", "target"], Vocabulary] = Field(default_factory=dict)
    limits: Limits = Limits()
    parity: Parity | None = None
    promise: Promise | None = None
    provenance: dict[str, Any] = Field(default_factory=dict)

    @computed_field  # type: ignore[prop-decorator]
    @property
    def batch_invariant(self) -> bool:
        """Whether a row's numbers are the same to the bit in any run; written for those who only ask that."""
        return self.promise is None or self.promise.holds == "any"

    @model_validator(mode="before")
    @classmethod
    def _read_invariance(cls, members: Any) -> Any:
        """Take ``batch_invariant``, which older manifests have for a promise: false is run alone, true is looked at."""
        if not isinstance(members, dict) or "batch_invariant" not in members:
            return members
        members = dict(members)
        is_invariant = members.pop("batch_invariant")
        if not isinstance(is_invariant, bool):
            raise ValueError("batch_invariant is true or false")
        if members.get("promise") is None and not is_invariant:
            members["promise"] = ALONE
        return members

    @model_validator(mode="after")
    def _check_whole(self) -> Manifest:
        self._check_task()
        names = [part.name for part in self.inputs] + [part.name for part in self.constants]
        names += [state.input for state in self.states]
        if len(set(names)) != len(names):
            raise ValueError(f"a graph input is named twice among {sorted(names)}")
        if len({state.name for state in self.states}) != len(self.states):
            raise ValueError("two states have the same name")
        given = {feature for part in self.inputs for feature in part.features}
        made = {feature for part in self.outputs for feature in part.features}
        for source, target in self.feedback.items():
            if source not in made or target not in given:
                raise ValueError(f"feedback {source!r} -> {target!r} does not lead from an output to an input feature")
        return self

    def _check_task(self) -> None:
        roles = set(self.graphs)
        if self.task == "recurrent":
            if (len(self.inputs), len(self.outputs)) != (1, 1) or roles - {"decode"} != {"step"}:
                raise ValueError("a recurrent model has one graph, 'step', one sequence input and one output")
            if not self.states:
                raise ValueError("a recurrent model has at least one state")
        if self.task == "encoder_decoder" and (len(self.inputs) != 1 or roles != {"encode", "decode"}):
            raise ValueError("an encoder-decoder has one source and two graphs, 'encode' and 'decode'")
        if self.task == "generator" and (self.inputs or roles != {"decode"}):
            raise ValueError("a generator has one graph, 'decode', and no source")
        if self.task in ("encoder_decoder", "generator") and self.promise is not None and self.promise.holds == "fixed":
            raise ValueError("what generates is run in any company or alone: promise is 'any' or 'alone'")
        if ("decode" in roles) != (self.decoder is not None):
            raise ValueError("a graph 'decode' and a decoder go together")

    @classmethod
    def read(cls, directory: Path) -> Manifest:
        """The manifest of a version's directory.

        Raises:
            ModelRejected: it is absent, is not JSON, or does not fit the schema; the first faults are named.
        """
        path = directory / MANIFEST_FILE
        try:
            return cls.model_validate_json(path.read_bytes())
        except OSError as error:
            raise ModelRejected(f"{path}: {error.strerror}") from error
        except ValidationError as error:
            faults = "; ".join(_fault(fault) for fault in error.errors(include_url=False)[:3])
            raise ModelRejected(f"{path}: {faults}") from error

    def write(self, directory: Path) -> None:
        """Write ``model.json`` into a version's directory, keys in the schema's order."""
        content = json.dumps(self.model_dump(mode="json"), indent=2, ensure_ascii=False, allow_nan=False)
        (directory / MANIFEST_FILE).write_text(content + "\n", encoding="utf-8")


def _fault(fault: Any) -> str:
    place = ".".join(str(part) for part in fault["loc"])
    message = str(fault["msg"]).removeprefix("Value error, ")
    return f"{place}: {message}" if place else message
