"""Export of a user's own module, named as ``package.module:function`` or ``path/to/file.py:function``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from ostinato.export.contracts.arguments import answers_whole_sequences
from ostinato.export.contracts.delays import delay_of_words
from ostinato.export.described_inputs import DescribedInputs, described_input, input_of_words, read_inputs
from ostinato.export.errors import ExportError
from ostinato.export.exporter import export_module
from ostinato.export.proofs.proof import ProofReport
from ostinato.export.sequence_exporter import export_sequence
from ostinato.export.user_code import user_module
from ostinato.export.version_directory import Exported
from ostinato.export.weights import load_weights
from ostinato.service.artifact.framing import Framing
from ostinato.service.artifact.tensors import Input


@dataclass(frozen=True)
class ModuleOptions:
    """What the command line says of a module; ``num_codes`` 0 = not known, or no codes; no ``task``: it is found.

    ``inputs``, ``context``: ``NAME:SHAPE[:DTYPE]`` each.
    """

    inputs: tuple[str, ...] = ()
    context: tuple[str, ...] = ()
    inputs_file: Path | None = None
    weights: Path | None = None
    steps_per_answer: int = 1
    framing: str = ""
    delay: tuple[str, ...] = ()
    input_shape: str = "B,T,1"
    input_dtype: str = "float32"
    features: tuple[str, ...] = ()
    output_features: tuple[str, ...] = ()
    states: tuple[str, ...] = ()
    feedback: tuple[str, ...] = ()
    num_codes: int = 0
    missing: bool = False
    step_by_step: bool = False
    minus_infinity: bool = False
    task: str = ""
    description: str = ""
    licence: str = ""

    def described(self) -> DescribedInputs:
        """The inputs, contexts and names of outputs' numbers: those of the file, and those in words behind them; where
        there are none, the one that shape, dtype and features describe.

        Raises:
            ExportError: they do not fit together.
        """
        in_file = read_inputs(self.inputs_file) if self.inputs_file is not None else DescribedInputs()
        inputs = (*in_file.inputs, *map(input_of_words, self.inputs)) or (self.input(),)
        return DescribedInputs(inputs, (*in_file.context, *map(input_of_words, self.context)), in_file.output_features)

    def input(self) -> Input:
        """The only input, as the manifest has it; ``input_0``, ... where no features are named.

        Raises:
            ExportError: shape, dtype and features do not fit together.
        """
        return described_input(
            {
                "shape": self.input_shape,
                "dtype": self.input_dtype,
                "features": self.features,
                "missing": self.missing,
                "num_codes": self.num_codes or None,
            }
        )

    def feedback_map(self) -> dict[str, str]:
        """``output=input`` pairs as a mapping.

        Raises:
            ExportError: a pair has no ``=``.
        """
        if wrong := [pair for pair in self.feedback if pair.count("=") != 1]:
            raise ExportError(f"--feedback {wrong[0]!r}: write output=input, as in forecast=load")
        return dict(pair.split("=") for pair in self.feedback)


def export_source(
    source: str,
    options: ModuleOptions,
    repository: Path,
    *,
    name: str = "",
    version: str = "1",
    force: bool = False,
    report: ProofReport = lambda _done, _total: None,
) -> Exported:
    """Export what the function named by ``source`` returns; the model's name is the function's where none is given.

    Raises:
        ExportError: the function cannot be found or fails, does not return a module; or as ``export_module``.
    """
    if options.task not in ("", "recurrent", "sequence"):
        raise ExportError(f"task {options.task!r}: one of 'recurrent' and 'sequence'; it is found where none is given")
    described = options.described()
    with user_module(source) as module:
        if options.weights is not None:
            module = load_weights(module, options.weights)
        named = [part.name for part in (*described.inputs, *described.context)]
        whole = options.task == "sequence" or (not options.task and answers_whole_sequences(module, named))
        of_any: dict[str, Any] = {
            "name": name or source.rpartition(":")[2].replace("_", "-"),
            "version": version,
            "context": described.context,
            "output_features": options.output_features or described.output_features,
            "minus_infinity": options.minus_infinity,
            "description": options.description,
            "provenance": _provenance(source, options),
            "force": force,
            "report": report,
        }
        if whole:
            if (
                options.states
                or options.feedback
                or options.step_by_step
                or options.steps_per_answer > 1
                or options.framing
                or options.delay
            ):
                raise ExportError(
                    "a module of the task 'sequence' has no states, steps or feedback: leave out --states, --feedback, "
                    "--step-by-step, --steps-per-answer, --framing and --delay, or say --task recurrent"
                )
            return export_sequence(module, described.inputs, repository, **of_any)
        return export_module(
            module,
            described.inputs,
            repository,
            steps_per_answer=options.steps_per_answer,
            framing=Framing.parse(options.framing) if options.framing else None,
            delay=delay_of_words(options.delay),
            state_names=options.states,
            feedback=options.feedback_map(),
            step_by_step=options.step_by_step,
            **of_any,
        )


def _provenance(source: str, options: ModuleOptions) -> dict[str, str]:
    """Of a file its name alone: where it lay is nobody's business."""
    return {"source": Path(source).name, **({"licence": options.licence} if options.licence else {})}


def load_module(source: str) -> nn.Module:
    """What the function named by ``source`` returns, for those who call ``export_module`` or its like themselves.

    Raises:
        ExportError: as ``user_module``.
    """
    with user_module(source) as module:
        return module
