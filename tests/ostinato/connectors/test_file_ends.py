"""Files: where a source goes on, and what a sink finds and cuts off."""

from __future__ import annotations

from pathlib import Path

import pytest

from ostinato.connectors.arrivals import SourcePosition
from ostinato.connectors.end_settings import FileSinkSettings, FileSourceSettings
from ostinato.connectors.ends import BatchCommit, Published
from ostinato.connectors.file_ends import FileSink, FileSource, PositionFile
from ostinato.errors import CommandError

LINES = [b"one", b"", b"x", b"three", b"last"]


def source(tmp_path: Path, *, follow: bool = False, has_header: bool = False) -> FileSource:
    path = tmp_path / "in"
    if not path.exists():
        path.write_bytes(b"\n".join(LINES) + b"\n")
    return FileSource(FileSourceSettings(str(path), follow), keeps_position=False, has_header=has_header)


def read(given: FileSource, position: SourcePosition | None) -> list[tuple[int, bytes | None]]:
    given.start_at({"in/0": position})
    return [pair for part in given.poll(10, 0) for pair in zip(part.offsets, part.values, strict=True)]


def test_a_source_goes_on_behind_each_line_and_at_each_that_is_held(tmp_path: Path) -> None:
    given = source(tmp_path)
    whole = read(given, None)
    assert whole == [(1, b"one"), (6, b"x"), (8, b"three"), (14, b"last")]
    assert given.is_over
    for number, (offset, _) in enumerate(whole):
        assert read(given, SourcePosition(offset + 1, offset + 1)) == whole[number + 1 :], "behind it"
        assert read(given, SourcePosition(offset, offset + 1)) == whole[number:], "it is held"
    given.close()


def test_a_line_that_is_being_written_is_none_yet(tmp_path: Path) -> None:
    given = source(tmp_path, follow=True, has_header=True)
    with (tmp_path / "in").open("ab") as file:
        file.write(b"half")
        file.flush()
        assert read(given, None)[-1] == (14, b"last")
        assert not given.is_over
        file.write(b" and whole\n")
        file.flush()
        ((part),) = given.poll(10, 0)
        assert part.values == [b"half and whole"]
    given.close()


def test_a_file_that_was_rotated_is_told_of_and_not_waited_for(tmp_path: Path) -> None:
    given = source(tmp_path, follow=True)
    assert len(read(given, None)) == 4
    assert given.poll(10, 0) == [], "more may come"
    (tmp_path / "in").rename(tmp_path / "in.1")
    assert given.poll(10, 0) == [], "and still, while there is no other"
    (tmp_path / "in").write_bytes(b"new\n")
    with pytest.raises(CommandError, match=r"in: another file now\. Offsets are places"):
        given.poll(10, 0)
    (tmp_path / "in.1").write_bytes(b"")
    with pytest.raises(CommandError, match="cut short"):
        given.poll(10, 0)
    given.close()
    again = source(tmp_path)
    with pytest.raises(CommandError, match="shorter than what was answered for"):
        again.start_at({"in/0": SourcePosition(15, 15)})
    again.close()


def commit(number: int) -> BatchCommit:
    answers = [Published("in/0", number, "k", b"answer %d" % number)]
    return BatchCommit(answers, [], {"in/0": SourcePosition(number, number)}, {}, {"in/0": {"k": number}})


def test_a_sink_cuts_off_what_was_not_committed_and_knows_its_position(tmp_path: Path) -> None:
    path = tmp_path / "out"
    sink = FileSink(FileSinkSettings(str(path)), "")
    sink.open()
    sink.commit(commit(1))
    sink.commit(commit(2))
    with pytest.raises(CommandError, match="another connector"):
        PositionFile(tmp_path / "out.position")
    sink.close()
    path.write_bytes(path.read_bytes() + b"answer 3, torn")
    again = FileSink(FileSinkSettings(str(path)), "")
    again.open()
    assert path.read_bytes() == b"answer 1\nanswer 2\n"
    assert again.keeper is not None
    assert again.keeper.kept(["in/0"]) == {"in/0": (SourcePosition(2, 2), {"k": 2})}
    path.write_bytes(b"short")
    with pytest.raises(CommandError, match="shorter than what was committed"):
        again.open()
    again.close()
