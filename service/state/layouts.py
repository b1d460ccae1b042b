"""The checksum of a layout: what the bytes of a version's records stand for, and where their numbers were made."""

from __future__ import annotations

import zlib

from ostinato.service.artifact.manifest import Manifest

_PLACES = 0xFF
"""The bits by which a place is told; those of the CPU are none, whose records are as they ever were."""

ELSEWHERE = (
    "sessions of %s/%s continue here from states that were made on another device, or at another shape: rounded "
    "otherwise, their answers may differ from those of one offline run in their last bits from now on"
)


def layout_checksum(manifest: Manifest, made_on: str) -> int:
    """Of all that a record holds behind its names; ``made_on``: the device and the shape of its runs, empty = the CPU.
    Two places may have the same: of 255 in the mean one.
    """
    place = 1 + zlib.crc32(made_on.encode()) % _PLACES if made_on else 0
    return zlib.crc32(_description(manifest).encode()) ^ place


def is_same_layout(one: int, other: int) -> bool:
    """Whether the numbers stand alike, wherever they were made."""
    return one ^ other <= _PLACES


def _description(manifest: Manifest) -> str:
    """What the bytes of a record stand for. The graph is part of it: another one would continue from a state that is
    not its own.
    """
    parts = [f"{role} {graph.content}" for role, graph in sorted(manifest.graphs.items())]
    parts += [f"{state.name} {state.dtype} {list(state.row_shape)}" for state in manifest.carried]
    parts += [f"{output.name} {output.dtype} {output.num_features}" for output in manifest.outputs]
    if manifest.framing is not None:  # by which steps are distinguished from those that are left over
        parts += [f"{manifest.framing} {output.name} {output.per_frame}" for output in manifest.outputs]
    if manifest.keep_inputs:
        parts += [f"{part.name} {part.dtype} {list(part.row_shape)} {manifest.keep_inputs}" for part in manifest.inputs]
    if (time := manifest.time) is not None:  # by which the numbers of its steps are moments
        parts.append(f"{time.step} {time.zone} {time.origin} {time.day}")
    if manifest.calibration is not None:
        parts.append(manifest.calibration.model_dump_json())
    return "; ".join(parts)
