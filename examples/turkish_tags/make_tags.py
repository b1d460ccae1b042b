"""Write ``tags_train.csv.xz`` and ``tags_test.csv.xz`` from the package ``turkish-treebanks`` 1.0.0.

    pip download --no-deps turkish-treebanks==1.0.0
    python examples/turkish_tags/make_tags.py turkish_treebanks-1.0.0-py3-none-any.whl

A row is a token. Its ending and how it is written follow from it: whoever asks the model works them out alike.
"""

from __future__ import annotations

import csv
import io
import lzma
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

SECTIONS = ("web", "wiki")
COLUMNS = ("sentence", "token", "ending", "written", "tag")
# The authors' own test part is every tenth sentence of each section.
TEST_EVERY = 10


def features(token: str) -> tuple[str, str, str]:
    """What the model is given of a token: itself in small letters, its last three letters, and how it is written."""
    lowered = token.translate(str.maketrans({"I": "\N{LATIN SMALL LETTER DOTLESS I}", "İ": "i"})).lower()
    if any(character.isdigit() for character in token):
        written = "number"
    elif not any(character.isalpha() for character in token):
        written = "sign"
    else:
        written = "capital" if token[0].isupper() else "small"
    return lowered, lowered[-3:], written


def sentences(section: str) -> Iterator[list[tuple[str, str]]]:
    """Tokens with their tags (coarse part of speech), sentence by sentence."""
    for block in section.strip().split("\n\n"):
        cells = [line.split("\t") for line in block.splitlines() if not line.startswith("#")]
        yield [(cell[1], cell[3]) for cell in cells]


def main(wheel: Path) -> None:
    folder = Path(__file__).parent
    tables = {part: io.StringIO() for part in ("train", "test")}
    writers = {part: csv.writer(table, lineterminator="\n") for part, table in tables.items()}
    for writer in writers.values():
        writer.writerow(COLUMNS)
    with zipfile.ZipFile(wheel) as files:
        for section in SECTIONS:
            for place, sentence in enumerate(sentences(files.read(f"data/{section}.conllu").decode())):
                writer = writers["test" if place % TEST_EVERY == TEST_EVERY - 1 else "train"]
                writer.writerows((f"{section}-{place}", *features(token), tag) for token, tag in sentence)
    for part, table in tables.items():
        content = lzma.compress(table.getvalue().encode(), preset=9 | lzma.PRESET_EXTREME)
        (folder / f"tags_{part}.csv.xz").write_bytes(content)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
