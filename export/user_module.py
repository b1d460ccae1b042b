"""Export of a user's own module, named as ``package.module:function`` or ``path/to/file.py:function``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError
from torch import nn

from ostinato.export.contracts.arguments import answers_whole_sequences
from ostinato.export.errors import ExportError
from ostinato.export.exporter import export_module
from ostinato.export.proofs.proof import ProofReport
from ostinato.export.sequence_exporter import export_sequence
from ostinato.export.user_code import user_module
from ostinato.export.version_directory import Exported
from ostinato.service.artifact.tensors import Input


@dataclass(frozen=True)
class ModuleOptions:
    """What the command line says of a module; ``num_codes`` 0 = not known, or no codes; no ``task``: it is found."""

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

    def input(self) -> Input:
        """The input as the manifest has it; ``input_0``, ... where no features are named.

        Raises:
            ExportError: shape, dtype and features do not fit together.
        """
        shape = [int(axis) if axis.strip().isdecimal() else axis.strip() for axis in self.input_shape.split(",")]
        num_features = 1
        for axis in shape:
            num_features *= axis if isinstance(axis, int) else 1
        content = {
            "name": "inputs",
            "dtype": self.input_dtype,
            "shape": shape,
            "features": self.features or tuple(f"input_{index}" for index in range(num_features)),
            "missing": self.missing,
            "num_codes": self.num_codes or None,
        }
        try:
            return Input.model_validate(content)
        except ValidationError as error:
            faults = "; ".join(f"{'.'.join(map(str, fault['loc']))} {fault['msg']}" for fault in error.errors())
            raise ExportError(f"the input as described by the options: {faults.strip()}") from error

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
    with user_module(source) as module:
        if options.task == "sequence" or (not options.task and answers_whole_sequences(module)):
            if options.states or options.feedback or options.step_by_step:
                raise ExportError(
                    "a module of the task 'sequence' has no states, steps or feedback: leave out --states, --feedback "
                    "and --step-by-step, or say --task recurrent"
                )
            return export_sequence(
                module,
                options.input(),
                repository,
                name=name or source.rpartition(":")[2].replace("_", "-"),
                version=version,
                output_features=options.output_features,
                minus_infinity=options.minus_infinity,
                description=options.description,
                provenance=_provenance(source, options),
                force=force,
                report=report,
            )
        return export_module(
            module,
            options.input(),
            repository,
            name=name or source.rpartition(":")[2].replace("_", "-"),
            version=version,
            output_features=options.output_features,
            state_names=options.states,
            feedback=options.feedback_map(),
            description=options.description,
            provenance=_provenance(source, options),
            step_by_step=options.step_by_step,
            minus_infinity=options.minus_infinity,
            force=force,
            report=report,
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
