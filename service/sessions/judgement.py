"""Judgement of a chunk: whether it is next, was applied already, or fits nowhere."""

from __future__ import annotations

from enum import Enum

from ostinato.service.errors import InvalidInput, OstinatoError, SeqConflict
from ostinato.service.sessions import commits, timed
from ostinato.service.sessions.blocks import Block
from ostinato.service.sessions.chunk import Chunk
from ostinato.service.sessions.watching import watch_again
from ostinato.service.state.arena import NEVER, Arena
from ostinato.service.state.base import Store
from ostinato.service.state.names import session_id_of
from ostinato.service.state.reaches import NO_OFFSET


class Judgement(Enum):
    """What becomes of a chunk."""

    APPLY = "it is next"
    ANSWER_AGAIN = "it was applied last, and is retried unchanged"
    REFUSE = "it is neither"


def is_next(part: Chunk | Block, arena: Arena, slot: int) -> bool:
    """Whether one row is to be applied, as far as the session in a slot tells: none of its readings was, and its
    ``seq`` is how many steps there are. What a client does not say, is right.
    """
    if part.seq is not None and part.seq != int(arena.steps[slot]):
        return False
    return part.offset is None or not part.offset.was_applied(arena.reach(slot))


def judge(part: Chunk | Block, arena: Arena, slot: int) -> Judgement:
    """What becomes of one row, by its ``seq`` and its offset; the session in the slot is the newest."""
    if is_next(part, arena, slot):
        return Judgement.APPLY
    steps, last_seq, offset = int(arena.steps[slot]), int(arena.last_seq[slot]), part.offset
    if offset is not None:
        reach = arena.reach(slot)
        # What has been applied since then without an offset may look the same, and is another chunk.
        if (reach.source, reach.offset, reach.steps) != (offset.source, offset.last, steps):
            return Judgement.REFUSE
    if last_seq == NEVER or part.seq not in (None, last_seq) or part.num_steps != steps - last_seq:
        return Judgement.REFUSE
    is_same = commits.digests_of(part)[0] == arena.last_digest[slot]
    return Judgement.ANSWER_AGAIN if is_same else Judgement.REFUSE


def is_to_run(part: Chunk | Block, session_id: str, arena: Arena, slot: int) -> bool:
    """Judge one row: True = it is next, and placed there if it has a time. Else it has its answer: the same again, or
    why it is refused.
    """
    engine, verdict = part.engine, judge(part, arena, slot)
    if verdict is Judgement.ANSWER_AGAIN:
        engine.metrics.duplicates.inc()
        part.outputs = engine.last_answer(slot)
        watch_again(part)
        part.answer(int(arena.last_seq[slot]))
    elif verdict is Judgement.REFUSE:
        engine.metrics.seq_conflicts.inc()
        part.fail(conflict_error(part, session_id, arena, slot))
    else:
        try:
            timed.place(part)
        except OstinatoError as error:
            timed.answer_again_or_fail(part, error)
        else:
            return True
    return False


def conflict_error(part: Chunk | Block, session_id: str, arena: Arena, slot: int) -> OstinatoError:
    """The error of a chunk that is not its session's next, nor the one applied last."""
    steps, reach, name = int(arena.steps[slot]), arena.reach(slot), session_id_of(session_id)
    if reach.offset == NO_OFFSET:
        detail = f"session {name!r} has applied {steps} steps, and seq is neither that nor a retry of its last chunk"
        return SeqConflict(detail, expected_seq=steps)
    last_seq = None if arena.last_seq[slot] == NEVER else int(arena.last_seq[slot])
    what = "seq" if part.offset is None or not part.offset.was_applied(reach) else "what is sent"
    return SeqConflict(
        f"session {name!r} has applied {steps} steps, the last with an offset is that of offset {reach.offset} in "
        f"source {reach.source!r}, and {what} is neither what comes next nor a retry of its last chunk",
        expected_seq=steps,
        source=reach.source,
        offset=reach.offset,
        last_seq=last_seq,
    )


def check_keeps_offsets(store: Store) -> None:
    """Refuse what says an offset where the store cannot keep it.

    Raises:
        InvalidInput: it writes records that have none.
    """
    if not store.keeps_offsets:
        raise InvalidInput(
            "this server writes records of a former schema (--record-schema), which have no offset: leave offset out, "
            "or start the server without --record-schema, once no replica of the release before is live",
            field="offset",
        )
