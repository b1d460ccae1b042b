"""The connector: readings in, answers out, a batch at a time.

A batch is a stretch of each partition that lies directly after what was committed. Its readings are one chunk for each
key, applied by one columnar message; then the answers, the dead letters and the new position are published as one. So
no key
ever has more than one chunk that was applied and not answered for, and that one the session can answer again: a kill at
any moment leaves either a batch that was not begun, or one whose chunks are cut the same and answered again.

While the service computes, the next batch is read; it is not sent before this one is committed.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import NamedTuple

from ostinato.connectors.answers import AnswerForm, refusals_of
from ostinato.connectors.arrivals import Refusal
from ostinato.connectors.counters import Counters
from ostinato.connectors.ends import AnswerSink, BatchCommit, EndUnreachable, Kept, Published, ReadingSource, ReportLine
from ostinato.connectors.feeds import Batch, PartitionFeeds
from ostinato.connectors.notices import EventNotice, NoticeForm
from ostinato.connectors.replays import ReplaySessions
from ostinato.connectors.reports import GrowingWait
from ostinato.connectors.service_line import ServiceLine, is_passing
from ostinato.connectors.stepping import ANSWER_LOST, REPEATED, StaleBatch, SteppedBatch, Stepping
from ostinato.connectors.webhooks import GivenUp, WebhookLine
from ostinato.errors import CommandError

LAG_SECONDS = 1.0
END_SECONDS = 10.0
"""For which webhooks are still delivered when there are no more readings."""
MAX_STALE = 2
"""Times that a batch is read anew as its sessions were past it, before what cannot be answered any more is refused."""


class Stopped(EndUnreachable):
    """The connector was told to stop while it waited."""


class Telling(NamedTuple):
    """How a receiver is told of events: ``form`` writes what ``line`` delivers."""

    form: NoticeForm
    line: WebhookLine


class Connector:
    """Carries readings from a source through sessions to a sink until it is told to stop, or there are no more.

    Args:
        is_stopping: whether to end after the batch that is under way.
        telling: None = nobody is told of events.
        replays: the sessions that answer, where the late rule is ``replay``; None = those that are stepped do.
        clock: in seconds.
    """

    def __init__(
        self,
        source: ReadingSource,
        sink: AnswerSink,
        line: ServiceLine,
        feeds: PartitionFeeds,
        writer: AnswerForm,
        counters: Counters,
        report: ReportLine,
        is_stopping: Callable[[], bool],
        *,
        wait_seconds: float,
        telling: Telling | None = None,
        replays: ReplaySessions | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._source = source
        self._sink = sink
        self._line = line
        self._feeds = feeds
        self._writer = writer
        self._counters = counters
        self._report = report
        self._is_stopping = is_stopping
        self._wait_seconds = wait_seconds
        self._telling = telling
        self._replays = replays
        self._has_settled = False
        self._clock = clock
        self._wait = GrowingWait()
        self._begins, self._has_begun = True, False
        self._flying: tuple[Batch, Stepping | None] | None = None
        self._is_landing = False
        self._waiting: list[Batch] = []
        self._num_stale = 0
        self._lags_at = 0.0

    def run(self) -> None:
        """Carry on until the end.

        Raises:
            CommandError: something is wrong that does not pass by waiting.
        """
        is_open = False
        if self._telling is not None:
            self._telling.line.begin()
        while not self._is_stopping():
            try:
                if not is_open:
                    self._source.open(self._given, self._taken)
                    is_open = True
                if not self._round():
                    break
                self._wait.succeeded()
            except CommandError as error:
                if not (isinstance(error, EndUnreachable) or is_passing(error)):
                    raise
                self._leave(error)
        self._finish()

    def _round(self) -> bool:
        """One batch, from the one that was read to its commit; whether there may be more."""
        if self._begins:
            self._begin()
        if not self._waiting:
            self._collect(self._wait_seconds)
        if not self._waiting:
            is_over = self._source.is_over and not self._begins
            self._waiting = (self._feeds.last_batch() if is_over else []) or self._letters(is_over=is_over)
            if not self._waiting:
                return not is_over
        self._send(self._waiting.pop(0))
        if not self._waiting:
            self._collect(0.0)
        self._land()
        return True

    def _begin(self) -> None:
        """Begin, or begin anew, from the last commit."""
        self._begins = False
        if self._replays is not None:
            self._replays.forget()
        self._sink.open()
        if self._has_begun and not self._source.is_replayable:
            return  # what came is still here, and does not come again
        self._has_begun = True
        partitions = self._source.partitions()
        keeper = self._sink.keeper or self._source.keeper
        kept = dict.fromkeys(partitions, Kept(None, {})) if keeper is None else keeper.kept(partitions)
        kept = {name: Kept(one.position, dict(one.times)) for name, one in kept.items()}
        self._feeds.begin(kept)
        self._source.start_at({name: one.position for name, one in kept.items()})

    def _collect(self, seconds: float) -> None:
        """What came, as the next batch."""
        room = self._feeds.room()
        for messages in self._source.poll(room, seconds) if room else ():
            if not self._begins:
                self._feeds.add(messages)
        if not self._begins:
            self._feeds.recover(self._source.at_end())
            self._waiting += self._feeds.next_batches()

    def _letters(self, *, is_over: bool) -> list[Batch]:
        """A batch without readings, where dead letters wait that have none to go with."""
        if self._telling is None or self._begins:
            return []
        if is_over and not self._has_settled:
            self._has_settled = True
            self._telling.line.settle(END_SECONDS)
        return [Batch()] if self._telling.line.given_up() else []

    def _send(self, batch: Batch) -> None:
        stepping = None
        if batch.chunks is not None:
            if_past = "" if self._source.is_replayable else REPEATED
            if self._num_stale >= MAX_STALE:
                if_past = ANSWER_LOST
            stepping = Stepping(self._line, batch.chunks, self._stand_by, if_past=if_past)
        self._flying = (batch, stepping)
        if stepping is not None:
            stepping.begin()

    def _land(self) -> None:
        """Publish the batch under way, unless it was when a partition of it was taken away."""
        if self._flying is not None:
            self._is_landing = True
            try:
                self._publish(*self._flying)
            finally:
                self._is_landing = False

    def _publish(self, batch: Batch, stepping: Stepping | None) -> None:
        """Wait for a batch's answers, and commit it with them."""
        begun_at = self._clock()
        stepped = None if stepping is None else stepping.finish()
        answered_at = self._clock()
        answers, refusals, notices = self._written(batch, stepped)
        letters = self._tell(notices, refusals)
        commit = BatchCommit(answers, refusals, batch.positions, batch.before, batch.times)
        self._sink.commit(commit)
        if self._sink.keeper is None:
            self._source.answered(commit)
        self._flying = None
        self._feeds.committed(batch)
        self._num_stale = 0
        if self._telling is not None:
            self._telling.line.published(letters)
        self._count(batch, commit, answered_at - begun_at, self._clock() - answered_at)

    def _written(
        self, batch: Batch, stepped: SteppedBatch | None
    ) -> tuple[list[Published], list[Refusal], list[EventNotice]]:
        """What a batch came to: answers, dead letters, and what a receiver is told."""
        answers: list[Published] = []
        refusals, notices = batch.refusals(), []
        base = 0
        for part in batch.released:
            if stepped is None:
                continue
            end = base + len(part)
            reasons = {place - base: why for place, why in stepped.reasons.items() if base <= place < end}
            outputs = stepped.outputs[base:end]
            watched = None if stepped.watched is None else stepped.watched.part(base, end)
            if self._replays is None:
                answers += self._writer.write(part, outputs, reasons, watched)
            refusals += refusals_of(part, {place: why for place, why in reasons.items() if why != REPEATED})
            self._feeds.num_repeated += sum(why == REPEATED for why in reasons.values())
            if watched is not None and self._telling is not None and self._replays is None:
                notices += self._telling.form.write(part, outputs, watched.events)
            base = end
        if self._replays is not None:
            for one in self._replays.answer(batch.released, batch.arrivals, stepped, self._stand_by):
                answers += self._writer.write(one.part, one.outputs, {}, one.watched, one.corrections)
                if self._telling is not None:
                    notices += self._telling.form.write(one.part, one.outputs, one.new_events())
        return answers, refusals, notices

    def _tell(self, notices: list[EventNotice], refusals: list[Refusal]) -> list[GivenUp]:
        """Put notices into the outbox, before their batch is committed; dead letters are those that are not told."""
        if self._telling is None:
            return []
        refusals += self._telling.line.put(notices)
        letters = self._telling.line.given_up()
        refusals += [each.letter for each in letters]
        return letters

    def _count(self, batch: Batch, commit: BatchCommit, step_seconds: float, publish_seconds: float) -> None:
        counters = self._counters
        counters.add("readings_total", batch.num_read)
        counters.add("answers_total", len(commit.answers))
        counters.add("corrections_total", sum(one.correction is not None for one in commit.answers))
        counters.add("dead_letters_total", len(commit.refusals))
        counters.add("batches_total")
        counters.add("step_seconds_total", step_seconds)
        counters.add("publish_seconds_total", publish_seconds)
        counters.put("late_total", self._feeds.num_late)
        counters.put("duplicates_total", self._feeds.num_repeated)
        counters.put("held_readings", self._feeds.num_held)
        for refusal in commit.refusals[:1]:
            self._report(
                f"to the dead letters: {refusal.reason} ({refusal.partition}/{refusal.offset})", "dead letters"
            )
        if self._clock() - self._lags_at > LAG_SECONDS:
            self._lags_at = self._clock()
            counters.put_lags(self._source.lags(self._feeds.positions()))

    def _leave(self, error: CommandError) -> None:
        """Leave what is under way, and wait; everything is read again from the last commit."""
        self._num_stale += isinstance(error, StaleBatch)
        self._counters.add("begun_anew_total")
        if not isinstance(error, Stopped):
            self._report(str(error))
        self._drop()
        if not self._is_stopping():
            try:
                self._pause(self._wait.next_seconds())
            except EndUnreachable as also:
                self._report(str(also))

    def _drop(self) -> None:
        if self._source.is_replayable:
            self._waiting = []
        elif self._flying is not None:
            self._waiting.insert(0, self._flying[0])
        self._flying, self._begins = None, True
        self._line.close()
        self._sink.abandon()

    def _stand_by(self, error: Exception) -> None:
        """Wait before the service is asked again; stay a member of the group meanwhile.

        Raises:
            Stopped: not to be asked again.
        """
        self._report(str(error))
        self._pause(self._wait.next_seconds())
        if self._is_stopping() or self._flying is None or self._begins:
            raise Stopped("stopped")

    def _pause(self, seconds: float) -> None:
        until = self._clock() + seconds
        while not self._is_stopping() and (left := until - self._clock()) > 0:
            self._source.idle(min(left, 0.5))

    def _given(self, partitions: list[str]) -> None:
        """The source gave partitions: they are begun before anything of them is read."""
        if partitions:
            self._report(f"reading {', '.join(partitions[:8])}{' and more' if len(partitions) > 8 else ''}")
        self._begins = True
        self._waiting = []

    def _taken(self, partitions: list[str]) -> None:
        """The source takes partitions away: what is under way is published while they are still ours, or left."""
        del partitions
        self._land_quietly()
        self._drop()

    def _finish(self) -> None:
        """The end: the batch under way is published, or left to the next start."""
        self._land_quietly()
        self._sink.abandon()
        self.close()

    def close(self) -> None:
        """Leave both ends."""
        self._source.close()
        self._sink.close()
        self._line.close()
        if self._telling is not None:
            self._telling.line.close()

    def _land_quietly(self) -> None:
        """Publish the batch under way if that goes, unless that is what is being done just now."""
        try:
            if not self._is_landing and not self._begins:
                self._land()
        except CommandError as error:
            self._report(str(error))
