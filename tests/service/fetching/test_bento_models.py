from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from ostinato.service.errors import FetchFailed
from ostinato.service.fetching.bento_models import repository_of, sources_of
from tests.service.fetching.conftest import plain_environment, tree_of
from tests.service.fetching.test_fetching import bring

SAVE_AND_FETCH = """
import sys
from pathlib import Path
from ostinato.export.bentoml_store import save_to_store
from ostinato.service.fetching.fetching import fetch_all
from ostinato.service.fetching.sources import read_source
tag = save_to_store(Path(sys.argv[1]))
for name in (tag, tag.partition(":")[0] + ":latest"):
    for fetched in fetch_all([read_source("bentoml:" + name)], Path(sys.argv[2])):
        print(fetched)
"""


def test_what_export_saves_into_the_store_is_fetched_from_it(origin: Path, repository: Path, tmp_path: Path) -> None:
    environment = {**plain_environment(), "BENTOML_HOME": str(tmp_path / "home"), "BENTOML_DO_NOT_TRACK": "True"}
    command = [sys.executable, "-c", SAVE_AND_FETCH, str(origin / "sums" / "1"), str(repository)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=100)
    assert done.stderr == ""
    first, second = done.stdout.splitlines()
    assert first.startswith("sums/1: fetched, from bentoml:sums:")
    assert second == "sums/1: was there already, from bentoml:sums:latest"
    assert tree_of(repository) == tree_of(origin)


class Tag(SimpleNamespace):
    def __str__(self) -> str:
        return f"{self.name}:{self.version}"


def test_models_of_a_bento_lie_in_it_or_in_the_store(tmp_path: Path) -> None:
    models = [
        SimpleNamespace(tag=Tag(name="a", version="v1"), registry="bentoml"),
        SimpleNamespace(tag=Tag(name="b", version="v2"), registry="bentoml"),
        SimpleNamespace(tag=Tag(name="c", version="v3"), registry="huggingface"),
    ]
    (tmp_path / "models" / "a" / "v1").mkdir(parents=True)
    tag = Tag(name="ostinato", version="xyz")
    bento = SimpleNamespace(path=str(tmp_path), tag=tag, info=SimpleNamespace(all_models=models))
    assert [each.address for each in sources_of(bento)] == [f"{tmp_path}/models/a/v1", "bentoml:b:v2"]
    assert sources_of(None) == []
    assert repository_of(bento, tmp_path) == tmp_path / "ostinato" / "ostinato-xyz"


@pytest.mark.parametrize("tag", ["a:b:c", ":", "a/b"])
def test_a_tag_that_is_none_is_told(tag: str, repository: Path) -> None:
    with pytest.raises(FetchFailed, match="BentoML's store has no such model"):
        bring(f"bentoml:{tag}", repository)
