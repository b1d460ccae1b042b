from __future__ import annotations

import sys
from importlib.metadata import PackageNotFoundError

import pytest

from ostinato import extras
from ostinato.extras import extra_of, install_sentence, missing_sentence, require


@pytest.mark.parametrize(
    ("module", "extra"),
    [
        ("bentoml", "serve"),
        ("lmdb.cpython", "serve"),
        ("hiredis", "redis"),
        ("torch.nn", "export"),
        ("onnx_ir", "export"),
        ("pyarrow.ipc", "arrow"),
        ("matplotlib", "plot"),
        ("confluent_kafka", "connect"),
        ("pandas", None),  # the tests have it, and users theirs
        ("numpy", None),  # always installed
        ("ostinato.nothing", None),
        (None, None),
    ],
)
def test_a_library_is_found_in_its_extra(module: str | None, extra: str | None) -> None:
    assert extra_of(ModuleNotFoundError(name=module)) == extra


@pytest.mark.parametrize("place", ["ostinato.service.artifact.manifest", "ostinato.export.exporter"])
def test_of_the_extras_that_bring_a_library_the_importer_s_is_named(place: str) -> None:
    with pytest.raises(ModuleNotFoundError) as raised:
        exec("raise ModuleNotFoundError(name='onnxruntime')", {"__name__": place})  # noqa: S102  # a frame of that place
    assert extra_of(raised.value) == ("serve" if "service" in place else "export")


@pytest.mark.parametrize(
    ("module", "sentence"),
    [
        ("matplotlib.figure", "'ostinato x' needs matplotlib, which is not installed"),
        (
            "ostinato.models",
            "'ostinato x' is not in a Bento, which only serves; use it where all of Ostinato is installed",
        ),
        ("ostinato.nothing", None),
        (None, None),
    ],
)
def test_without_metadata_as_in_a_bento_no_extra_is_known_and_the_library_is_named(
    module: str | None, sentence: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    def none(_: str) -> list[str]:
        raise PackageNotFoundError

    monkeypatch.setattr(extras, "requires", none)
    error = ModuleNotFoundError(name=module)
    assert extra_of(error) is None
    assert missing_sentence("'ostinato x'", error) == sentence


def test_what_is_required_is_looked_for_and_not_imported() -> None:
    require("this", "x")
    assert "this" not in sys.modules
    with pytest.raises(ModuleNotFoundError) as raised:
        require("no_such_library", "x")
    assert raised.value.name == "no_such_library"


def test_the_sentence_says_what_to_type() -> None:
    assert install_sentence("'ostinato serve'", "serve") == (
        "'ostinato serve' needs the extra serve: pip install 'ostinato[serve]'"
    )


def test_a_library_with_another_name_than_its_package_is_found_in_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    packages = ["grpcio", "grpcio-health-checking", "grpcio-reflection"]
    monkeypatch.setattr(extras, "requires", lambda _: [f'{package}>=1; extra == "grpc"' for package in packages])
    found = [extra_of(ModuleNotFoundError(name=name)) for name in ("grpc.aio", "grpc_health.v1", "grpc_reflection")]
    assert found == ["grpc", "grpc", "grpc"]
