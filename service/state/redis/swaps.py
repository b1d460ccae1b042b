"""Compare-and-set of records in Redis, many at once."""

from __future__ import annotations

from collections.abc import Awaitable, Sequence
from hashlib import sha1
from typing import Any, NamedTuple

import hiredis
import numpy as np
from numpy.typing import NDArray

from ostinato.service.state.redis.connection import AnswerLost, RedisError, Refused, pack
from ostinato.service.state.redis.servers import Command, RedisServers, cluster_slot

MAX_KEYS = 256
"""Keys of one call of the script: others wait as long as it runs."""

ABSENT = -1
"""The stamp of no record."""

MIN_MILLISECONDS = 1000.0
"""Even a record that nobody is to find is there for a moment, so that its commit is known when it is sent again."""

# KEYS are those of records and ARGV[3] on the records. In ARGV[1] are the stamps that they shall replace, ABSENT
# where there shall be none, and in ARGV[2] for how many milliseconds they are kept, as doubles; what is as long as 1e15
# of them is for ever, since Redis counts no further. The answer is a digit for each. A record that ends its session (it
# has no outputs) takes the place of what is no string, too; and a Redis that is out of memory takes it, since something
# is deleted first.
SCRIPT = rb"""
local none = string.rep('\255', 8)
local won = {}
for i = 1, #KEYS do
  local at = 8 * i - 7
  local record = ARGV[i + 2]
  local stamp = redis.pcall('GETRANGE', KEYS[i], 0, 7)
  local ends = string.sub(record, 67, 70) == '\0\0\0\0'
  if type(stamp) == 'string' then
    stamp = stamp .. string.sub(none, #stamp + 1)
  elseif ends then
    stamp = none
  end
  if stamp == string.sub(ARGV[1], at, at + 7) then
    if ends then redis.call('DEL', KEYS[i]) end
    local keep = struct.unpack('<d', ARGV[2], at)
    if keep >= 1e15 then
      redis.call('SET', KEYS[i], record)
    else
      redis.call('SET', KEYS[i], record, 'PX', string.format('%.0f', keep))
    end
    won[i] = '1'
  elseif stamp == string.sub(record, 1, 8) then
    won[i] = '1'
  else
    won[i] = '0'
  end
end
return table.concat(won)
"""
_SHA = sha1(SCRIPT, usedforsecurity=False).hexdigest().encode()


class Swapped(NamedTuple):
    """What became of swaps.

    Attributes:
        won: which of them have won, bool ``[R]``.
        unknown: of which it is not known, bool ``[R]``; None = of none.
        trouble: what a server said, or did not say, to those of which it is not known; None = each was answered in the
            end.
    """

    won: NDArray[np.bool_]
    unknown: NDArray[np.bool_] | None
    trouble: str | None = None


class Swaps:
    """Puts records in the place of others, each if it is still there.

    A record is known by its stamp, its first 8 bytes. One whose own stamp is found in its place was put there before,
    by the same swap, whose answer was lost: it has won. Where another's stamp is found when a swap is retried, it
    may have won the first time, and another change have followed: that is not known.
    """

    def __init__(self, servers: RedisServers) -> None:
        self._servers = servers

    def begin(
        self, keys: Sequence[bytes], stamps: NDArray[np.int64], records: Sequence[bytes], keep: NDArray[np.float64]
    ) -> Awaitable[Swapped]:
        """Send swaps, at once where there is one server; what is awaited tells which have won.

        Args:
            keys: ``R``, all different.
            stamps: of the records that they shall replace, ``[R]``; ``ABSENT`` = there shall be none.
            records: the new ones.
            keep: for how many seconds from now, ``[R]``; ``inf`` = for ever.

        Raises:
            RedisError: by what is awaited, where no server has done its part. One of several servers that has not is no
                error for the others' part.
        """
        keep_milliseconds = np.maximum(np.ceil(keep * 1000), MIN_MILLISECONDS).astype("<f8")
        groups = self._groups(keys)
        parts: list[list[bytes]] = []
        if len(groups) == 1:
            parts.append(
                [_numbered(keys), *keys, stamps.astype("<i8").tobytes(), keep_milliseconds.tobytes(), *records]
            )
        else:
            for rows in groups:
                picked = [keys[row] for row in rows]
                columns = [stamps[rows].astype("<i8").tobytes(), keep_milliseconds[rows].tobytes()]
                parts.append([_numbered(picked), *picked, *columns, *[records[row] for row in rows]])
        slots = [0 if self._servers.is_one else cluster_slot(keys[rows[0]]) for rows in groups]
        commands = [Command(slot, pack(b"EVALSHA", _SHA, *part)) for slot, part in zip(slots, parts, strict=True)]
        resent: set[int] = set()
        return self._finish(self._servers.ask(commands, resent), groups, slots, parts, resent)

    def _groups(self, keys: Sequence[bytes]) -> list[list[int]]:
        """The rows of each call."""
        num_rows = len(keys)
        if self._servers.is_one:
            return [list(range(num_rows))[start : start + MAX_KEYS] for start in range(0, num_rows, MAX_KEYS)]
        # A script may only have keys of one slot.
        groups: dict[int, list[int]] = {}
        for row, key in enumerate(keys):
            groups.setdefault(cluster_slot(key), []).append(row)
        return list(groups.values())

    async def _finish(
        self,
        sent: Awaitable[list[Any]],
        groups: list[list[int]],
        slots: list[int],
        parts: list[list[bytes]],
        resent: set[int],
    ) -> Swapped:
        answers = await sent
        unseen = [index for index, answer in enumerate(answers) if _is_error(answer, "NOSCRIPT")]
        if unseen:  # a server that has begun again, or has never seen it
            commands = [Command(slots[index], pack(b"EVAL", SCRIPT, *parts[index])) for index in unseen]
            later_resent: set[int] = set()
            try:
                later = await self._servers.ask(commands, later_resent)
            except RedisError as error:
                if len(unseen) == len(answers) and not resent:
                    raise
                later = [AnswerLost(str(error))] * len(unseen)
            resent.update(unseen[index] for index in later_resent)
            for index, answer in zip(unseen, later, strict=True):
                answers[index] = answer
        failed = [index for index, answer in enumerate(answers) if isinstance(answer, (hiredis.ReplyError, RedisError))]
        trouble = self._said(answers[failed[0]]) if failed else None
        if trouble is not None and len(failed) == len(answers):
            # What is refused now may have been done when it was first sent.
            was_refused = all(isinstance(answer, hiredis.ReplyError) for answer in answers) and not resent
            raise Refused(trouble) if was_refused else AnswerLost(trouble)
        won = np.zeros(sum(map(len, groups)), np.bool_)
        for index in {*range(len(groups))}.difference(failed):
            won[groups[index]] = np.frombuffer(answers[index], np.uint8) == ord("1")
        if not resent and not failed:
            return Swapped(won, None)
        unknown = np.zeros(len(won), np.bool_)
        for index in resent.union(failed):
            unknown[groups[index]] = ~won[groups[index]]
        return Swapped(won, unknown if unknown.any() else None, trouble)

    def _said(self, failure: Any) -> str:
        return str(failure) if isinstance(failure, RedisError) else self._servers.refusal(failure)


def _numbered(keys: Sequence[bytes]) -> bytes:
    return b"%d" % len(keys)


def _is_error(answer: Any, word: str) -> bool:
    return isinstance(answer, hiredis.ReplyError) and str(answer).startswith(word)
