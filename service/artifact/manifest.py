"""The manifest: what the service must know of a model's graphs (``model.json``, schema version 1)."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import (
    Field,
    SerializerFunctionWrapHandler,
    ValidationError,
    computed_field,
    model_serializer,
    model_validator,
)

from ostinato.service.artifact.calibration import Calibration
from ostinato.service.artifact.decoder import Decoder
from ostinato.service.artifact.distribution import TargetForecast, targets_of
from ostinato.service.artifact.framing import Framing, rows_first
from ostinato.service.artifact.graph_file import NAME_PATTERN as NAME_PATTERN
from ostinato.service.artifact.graph_file import DataFile as DataFile
from ostinato.service.artifact.graph_file import GraphFile as GraphFile
from ostinato.service.artifact.limits import Limits as Limits
from ostinato.service.artifact.parity import Parity as Parity
from ostinato.service.artifact.promise import ALONE as ALONE
from ostinato.service.artifact.promise import ANY as ANY
from ostinato.service.artifact.promise import BY_ITSELF as BY_ITSELF
from ostinato.service.artifact.promise import Promise as Promise
from ostinato.service.artifact.regular_files import read_regular
from ostinato.service.artifact.rows import RowLayout
from ostinato.service.artifact.series_time import SeriesTime as SeriesTime
from ostinato.service.artifact.tensors import Constant, Input, Output, Part, State
from ostinato.service.artifact.vocabulary import Vocabulary
from ostinato.service.artifact.watch import ReadingWatch, check_watched
from ostinato.service.errors import ModelRejected

MANIFEST_FILE = "model.json"
GOLDEN_FILE = "golden.safetensors"
MAX_MANIFEST_BYTES = 2**28
MAX_KEPT_INPUTS = 100_000

Name: TypeAlias = Annotated[str, Field(pattern=NAME_PATTERN)]
Task: TypeAlias = Literal["recurrent", "sequence", "encoder_decoder", "generator"]


class Manifest(Part):
    """One version of a model.

    ``schema_version``: of the form of this file.
    ``name``, ``version``: by which it is served; also the names of its folders.
    ``task``: what kind of model it is. ``description``: a sentence for people.
    ``graphs``: the graphs by their role. A recurrent model has ``step``, and ``decode`` where its sessions forecast
    with a decoder of their own. A model of whole sequences has ``sequence``, an encoder-decoder ``encode`` and
    ``decode``, and a generator only ``decode``.
    ``inputs``: of ``step`` or ``sequence``; an encoder-decoder has its source as its only input.
    ``outputs``: of ``step`` or ``sequence``. ``states``: of ``step``: what a session carries from step to step.
    ``context``: inputs without ``T``, which are the same in all steps of a sequence, as who it is about. They are given
    when a session opens, or with a sequence.
    ``constants``: inputs of the graph that are the same in every run.
    ``lengths``: of ``sequence``, the input for the true lengths of the sequences, int64 ``[B]``. Without one, only
    sequences of equal length share a run. Like ``context``, it is left out of the file where there is none.
    ``encoder_lengths``: the encoder's input for the true lengths of its sources, int64 ``[B]``. Without one, only
    sources of equal length share a run.
    ``decoder``: the graph ``decode`` of a model that generates or forecasts with a decoder.
    ``vocabularies``: ``source`` and ``target``, for models that take or give text.
    ``feedback``: for each output feature, the input feature whose next value it predicts; empty where it predicts none.
    ``framing``: of a recurrent model whose graph takes frames of several steps. ``inputs`` are then those of a step,
    and ``of_graph`` has them as the graph does. Left out of the file where there is none.
    ``keep_inputs``: how many of its last steps a session keeps, so that another version may run them and continue from
    there. Left out of the file where it is 0.
    ``time``: how steps lie in time, for sessions that are sent times. Left out of the file where there is none.
    ``calibration``: how sessions of a forecaster count how far their forecasts are off; their intervals and anomalies
    follow from it. Left out of the file where there is none.
    ``quantized``: the kind of quantisation, where a run scales what goes into its products by all that is in it. A row
    of such a graph has numbers of its own only when it is run alone. Left out of the file where there is none.
    ``limits``: what one request may ask for.
    ``promise``: how the graphs must be run so that live and offline numbers are the same; None = it is found at load.
    For an encoder-decoder, a generator and a session's decoder it is ``any`` or ``alone``, each output by itself.
    ``parity``: how near the graph comes to the trained network; None = not measured.
    ``provenance``: what the version was made of, for people: recipe, data, scores, releases of libraries.
    """

    schema_version: Literal[1] = 1
    name: Name
    version: Name
    task: Task
    description: str = ""
    graphs: dict[str, GraphFile]
    inputs: tuple[Input, ...] = ()
    outputs: tuple[Output, ...] = ()
    context: tuple[Input, ...] = ()
    states: tuple[State, ...] = ()
    constants: tuple[Constant, ...] = ()
    lengths: str = ""
    feedback: dict[str, str] = Field(default_factory=dict)
    framing: Framing | None = None
    keep_inputs: Annotated[int, Field(ge=0, le=MAX_KEPT_INPUTS)] = 0
    time: SeriesTime | None = None
    calibration: Calibration | None = None
    encoder_lengths: str = ""
    decoder: Decoder | None = None
    vocabularies: dict[Literal["source", "target"], Vocabulary] = Field(default_factory=dict)
    limits: Limits = Limits()
    parity: Parity | None = None
    promise: Promise | None = None
    quantized: Literal["", "int8"] = ""
    provenance: dict[str, Any] = Field(default_factory=dict)

    @property
    def is_unguarded(self) -> bool:
        """Whether an exporter wrote it that did not yet guard against NaN and find the ranges of codes.

        It had no promise to write, either; a manifest that was written by hand says nothing of libraries.
        """
        return self.promise is None and "libraries" in self.provenance

    @computed_field  # type: ignore[prop-decorator]
    @property
    def batch_invariant(self) -> bool:
        """Whether a row's numbers are the same to the bit in any run; written for those who only ask that."""
        return self.promise is None or self.promise.holds == "any"

    @property
    def promise_sentence(self) -> str:
        """What the promise means for whoever serves the model, and what it costs."""
        assert self.promise is not None, "every export has one, and loading finds it"
        return self.promise.sentence_of_sequences if self.task == "sequence" else self.promise.sentence

    @property
    def given(self) -> RowLayout[Input]:
        """What goes in at a step, as a row."""
        return RowLayout(self.inputs)

    @property
    def made(self) -> RowLayout[Output]:
        """What comes out of a step, as a row; with framing, out of a frame."""
        if self.framing is None:
            return RowLayout(self.outputs)
        return RowLayout(self._of_frames, self.framing, self.outputs)

    @property
    def carried(self) -> tuple[State, ...]:
        """All that a session carries from step to step: the states, behind them its context, which stays, and with
        framing what is left over of its last steps, which the graph does not see.
        """
        left_over = ()
        if self.framing is not None and self.framing.size > 1:
            left_over = tuple(self.framing.left_over_of(part) for part in self.inputs)  # type: ignore[assignment]
        return (*self.states, *(State.kept(part) for part in self.context), *left_over)

    @property
    def of_session(self) -> tuple[State, ...]:
        """All that a session is: what it carries; the steps that it keeps, rows of ``given``, the newest last, and how
        many there are; what it keeps count of, now and before the chunk applied last; and its times.
        """
        states = self.carried
        if self.keep_inputs:
            given: Any = self.given
            rows = State.unseen("kept.inputs", (self.keep_inputs, given.width), given.dtype.name)
            states = (*states, rows, State.unseen("kept.count", (1,), "int64"))
        if (watch := self.watch) is not None:
            states = (*states, *watch.states)
        return states if self.time is None else (*states, self.time.state)

    @property
    def watch(self) -> ReadingWatch | None:
        """What sessions keep count of by the calibration; None where there is none."""
        told = self.calibration
        return None if told is None else ReadingWatch(told, self.forecasts, self.given, self.made)

    @property
    def forecasts(self) -> list[TargetForecast]:
        """What the numbers of a step's answer forecast, told by their names."""
        features = [feature for part in self.outputs for feature in part.features]
        return targets_of(features, self.feedback, counts=self.provenance.get("training", {}).get("loss") == "counts")

    @property
    def of_graph(self) -> Manifest:
        """The same, of frames for steps: what the graph takes, gives and carries. Itself, where there is no framing."""
        if self.framing is None:
            return self
        inputs = tuple(self.framing.frame_of(part) for part in self.inputs)
        return self.model_copy(update={"inputs": inputs, "outputs": self._of_frames, "framing": None})

    @property
    def _of_frames(self) -> tuple[Output, ...]:
        """The outputs as the graph gives them, a row for each frame."""
        assert self.framing is not None
        return tuple(self.framing.answer_of(part) for part in self.outputs)

    @model_serializer(mode="wrap")
    def _leave_out(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Without what an older release does not know, where it says nothing."""
        content: dict[str, Any] = write(self)
        may_be_absent = ("context", "lengths", "framing", "keep_inputs", "time", "calibration", "quantized")
        return {key: value for key, value in content.items() if value or key not in may_be_absent}

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
            members["promise"] = BY_ITSELF if members.get("task") == "sequence" else ALONE
        return members

    @model_validator(mode="after")
    def _check_whole(self) -> Manifest:
        self._check_task()
        self._check_parts()
        names = [part.name for part in self.inputs + self.context] + [part.name for part in self.constants]
        names += [state.input for state in self.states] + [self.lengths] * bool(self.lengths)
        if len(set(names)) != len(names):
            raise ValueError(f"a graph input is named twice among {sorted(names)}")
        made = [part.name for part in self.outputs] + [state.output for state in self.states]
        if len(set(made)) != len(made):
            raise ValueError(f"a graph output is named twice among {sorted(made)}")
        if len({state.name for state in self.carried}) != len(self.carried):
            raise ValueError("two states, or a state and a context, have the same name")
        if self.keep_inputs and (self.task != "recurrent" or self.framing is not None):
            raise ValueError("keep_inputs: only sessions of recurrent models without framing keep their steps")
        if self.time is not None:
            if self.task != "recurrent" or self.framing is not None:
                raise ValueError("time: only of recurrent models without framing")
            self.time.check_inputs(self.inputs)
        self._check_feedback()
        self._check_framing()
        if self.calibration is not None:
            if self.task != "recurrent" or self.framing is not None:
                raise ValueError("calibration: only sessions of recurrent models without framing keep count")
            check_watched(self.calibration, self.forecasts, self.inputs, self.outputs)
        return self

    def _check_framing(self) -> None:
        framed = [part for part in self.outputs if part.per_frame > 1]
        if self.framing is None:
            if framed:
                raise ValueError(f"output {framed[0].name!r} has rows for each frame, and there is no framing")
            return
        if self.task != "recurrent" or self.feedback or self.decoder is not None:
            raise ValueError("framing is of recurrent models, which do not forecast")
        if late := [part.name for part in self.outputs if part.delay]:
            raise ValueError(f"output {late[0]!r} has a delay, which is of steps, and with framing it answers frames")
        for made in self.outputs:
            if made.per_frame == 1 and made.time_axis is not None and not self.framing.many:
                raise ValueError(
                    f"output {made.name!r}: a graph of one frame gives one row, without 'T', or per_frame rows"
                )
        for part in (*self.inputs, *framed):
            if part.time_axis is None:
                raise ValueError(f"{part.name!r} needs a 'T' in its shape, in whose place the graph has a frame")
            if not rows_first(part):
                raise ValueError(f"{part.name!r}: with framing 'T' comes before all sizes")

    def _check_parts(self) -> None:
        for part in self.context:
            if part.time_axis is not None or part.source_axis is not None:
                raise ValueError(f"context {part.name!r}: it is the same in all steps, so its shape has no 'T'")
        if len({part.time_axis is None for part in self.inputs}) > 1:
            raise ValueError(
                "some inputs have 'T' and some have none: what is the same in all steps of a sequence is context"
            )

        is_timed = any(part.time_axis is not None for part in self.inputs)
        for made in self.outputs:
            if made.delay and (self.task != "recurrent" or (is_timed and made.time_axis is None)):
                raise ValueError(f"output {made.name!r} has a delay: only what a session answers at each step has one")

    def _check_feedback(self) -> None:
        given = Counter(feature for part in self.inputs for feature in part.features)
        made = Counter(feature for part in self.outputs for feature in part.features)
        late = {feature for part in self.outputs if part.delay for feature in part.features}
        for source, target in self.feedback.items():
            if source in late:
                raise ValueError(f"feedback {source!r}: it has a delay, so it speaks of a step before, not of the next")
            if source not in made or target not in given:
                raise ValueError(f"feedback {source!r} -> {target!r} does not lead from an output to an input feature")
            if made[source] > 1 or max(given.values()) > 1:
                raise ValueError(f"with feedback {source!r}, each feature of the inputs and it needs a name of its own")

    def _check_task(self) -> None:
        roles = set(self.graphs)
        if self.task == "recurrent":
            if not self.inputs or not self.outputs or roles - {"decode"} != {"step"}:
                raise ValueError(
                    "a recurrent model has one graph, 'step', a sequence input or more, and an output or more"
                )
            if not self.states and self.framing is None:
                raise ValueError("a recurrent model has at least one state")
        if self.task == "sequence":
            if not self.inputs or not self.outputs or roles != {"sequence"}:
                raise ValueError(
                    "a model of whole sequences has one graph, 'sequence', an input and an output at least"
                )
            if self.states or any(part.time_axis is None for part in self.inputs):
                raise ValueError("a model of whole sequences has no states, and all its inputs have 'T'")
        elif self.lengths:
            raise ValueError("lengths are of models of whole sequences")
        if self.quantized and (self.promise is None or self.promise.holds != "alone"):
            raise ValueError("quantized: rows that share a scale are run alone, so promise is 'alone'")
        if self.promise is not None and self.promise.holds != "any" and self.promise.steps != (self.task != "sequence"):
            raise ValueError(
                "a graph that is not run in any shape is run a step at a time: steps is 0 with 'any', else 1; a graph "
                "of whole sequences is run over all of their steps: steps is 0"
            )
        if self.task not in ("recurrent", "sequence") and self.context:
            raise ValueError("only models of sessions and of whole sequences have context")
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
            return cls.model_validate_json(read_regular(path, MAX_MANIFEST_BYTES))
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
