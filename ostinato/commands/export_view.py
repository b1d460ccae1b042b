"""Tables of an export: its proof, and what was exported."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.markup import escape

from ostinato.commands.tables import WholeTable

if TYPE_CHECKING:
    from ostinato.export.version_directory import Exported
    from ostinato.service.artifact.decoder import Decoder
    from ostinato.service.artifact.series_time import SeriesTime
    from ostinato.service.artifact.tensors import Input, Output

MAX_SHOWN_NAMES = 12


def proof_table(exported: Exported, title: str) -> WholeTable:
    """The proof, line by line, and the promise that it led to."""
    table = WholeTable(title=escape(f"{exported.manifest.name} {exported.manifest.version}: {title}"))
    table.add_column("run")
    table.add_column("sizes")
    table.add_column("largest difference", justify="right")
    table.add_column("each row as when alone")
    for line in exported.proof.lines:
        table.add_row(line.what, line.sizes, f"{line.max_difference:.1e}", _bits(line.bit_identical))
    table.add_section()
    parity = exported.proof.parity
    table.add_row(
        "all", f"tolerance {parity.tolerance:g}", f"{parity.max_difference:.1e}", _bits(exported.proof.batch_invariant)
    )
    promise = exported.manifest.promise
    assert promise is not None, "every export has one"
    table.caption = f"promise {promise}: {exported.manifest.promise_sentence}"
    return table


def _bits(identical: bool) -> str:
    return "to the bit" if identical else "[yellow]to rounding[/]"


def export_summary(exported: Exported, title: str = "") -> WholeTable:
    """What was exported: its tensors, and what they are called where there are several; titled by its directory."""
    manifest = exported.manifest
    table = WholeTable(title=escape(title or str(exported.directory)), show_header=False)
    for given in manifest.inputs:
        what = "source" if manifest.task == "encoder_decoder" else "input"
        _add_tensor(table, f"{what} {given.name}" if len(manifest.inputs) > 1 else what, given)
    for known in manifest.context:
        _add_tensor(table, f"context {known.name}", known)
    for made in manifest.outputs:
        _add_tensor(table, f"output {made.name}" if len(manifest.outputs) > 1 else "output", made)
    for state in manifest.states:
        table.add_row(f"state {state.name}", f"{state.dtype} {_shape(state.shape)}")
    if manifest.decoder is not None:
        table.add_section()
        _add_decoder(table, manifest.decoder)
    if manifest.time is not None:
        table.add_row("time", _time(manifest.time))
    if manifest.calibration is not None:
        names = ", ".join(target.name for target in manifest.calibration.targets)
        table.add_row("calibration", f"{manifest.calibration.num_steps} steps ahead of {escape(names)}")
    for side, vocabulary in manifest.vocabularies.items():
        table.add_row(f"{side} vocabulary", f"{len(vocabulary.symbols)} symbols")
    return table


def _time(time: SeriesTime) -> str:
    told = time.step or "an irregular series"
    tells = f"; it tells {escape(', '.join(time.made_features))}" if time.made_features else ""
    return f"{told}, {time.zone or 'UTC'}{tells}"


def _add_tensor(table: WholeTable, what: str, part: Input | Output) -> None:
    table.add_row(what, f"{part.dtype} {_shape(part.shape)}")
    if delay := getattr(part, "delay", 0):
        table.add_row("", f"speaks of {delay} step{'s' if delay > 1 else ''} before")
    table.add_row("", _names(part.features))


def _add_decoder(table: WholeTable, decoder: Decoder) -> None:
    if decoder.previous is not None:
        table.add_row("previous", f"{decoder.previous.dtype} {_shape(decoder.previous.shape)}")
    _add_tensor(table, "written", decoder.output)
    for state in decoder.states:
        table.add_row(f"decoder's state {state.name}", f"{state.dtype} {_shape(state.shape)}")
    for part in decoder.memory:
        table.add_row(f"memory {part.name}", f"{part.dtype} {_shape(part.shape)}")
    if decoder.previous is not None:
        table.add_row("start", str(decoder.start))
    if decoder.stop is not None:
        table.add_row("stop", str(decoder.stop))


def _names(features: tuple[str, ...]) -> str:
    """By commas; a few of them where a vocabulary has lent its symbols."""
    shown = escape(", ".join(features[:MAX_SHOWN_NAMES]))
    return shown if len(features) <= MAX_SHOWN_NAMES else f"{shown} and {len(features) - MAX_SHOWN_NAMES} more"


def _shape(shape: tuple[int | str, ...]) -> str:
    return f"({', '.join(map(str, shape))})"
