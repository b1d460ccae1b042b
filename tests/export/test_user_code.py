from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from textwrap import dedent

import pytest
import torch
from torch import nn

from ostinato.export.errors import ExportError
from ostinato.export.user_module import load_module
from ostinato.service.artifact.manifest import Manifest

ROOT = Path(__file__).parents[2]
# A network with a state, in 8 lines: the sum of what it has seen, times a factor.
TOTAL = """
    import torch
    from torch import nn

    class Total(nn.Module):
        def __init__(self, factor=1.0):
            super().__init__()
            self.factor = factor

        def initial_state(self, batch_size):
            return torch.zeros(batch_size, 1, dtype=torch.float64)

        def forward(self, x, total):
            totals = total.unsqueeze(1) + torch.cumsum(x.double(), dim=1)
            return (self.factor * totals).float(), totals[:, -1]

    """


def write(folder: Path, **files: str) -> None:
    """Files by their path, with ``__`` for a slash and without ``.py``."""
    for name, text in files.items():
        path = folder / f"{name.replace('__', '/')}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(dedent(text), encoding="utf-8")


def package(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "__init__.py").touch()


def factor(module: nn.Module) -> float:
    value = module.factor
    assert isinstance(value, float)
    return value


@pytest.fixture(autouse=True)
def unchanged(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a test loads is looked up where the test says, whatever an earlier one did."""
    monkeypatch.setattr(sys, "dont_write_bytecode", True)


def test_a_file_imports_what_lies_next_to_it_wherever_it_is_called_from(tmp_path: Path) -> None:
    write(
        tmp_path / "own",
        total=TOTAL,
        net="from helper import FACTOR\nfrom total import Total\ndef build():\n    return Total(FACTOR)\n",
        helper="FACTOR = 3.0\n",
    )
    assert factor(load_module(f"{tmp_path}/own/net.py:build")) == 3.0


def test_a_relative_path_is_of_the_current_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, own__net="from own_total import Total as build\n", own__own_total=TOTAL)
    monkeypatch.chdir(tmp_path)
    assert factor(load_module("own/net.py:build")) == 1.0


def test_postponed_annotations_and_dataclasses_are_resolved(tmp_path: Path) -> None:
    sizes = """
    from __future__ import annotations
    from dataclasses import dataclass, field
    from typing import ClassVar, get_type_hints

    @dataclass
    class Sizes:
        factor: float = 2.0
        names: list[str] = field(default_factory=list)
        kept: ClassVar[int] = 3

    assert get_type_hints(Sizes)["factor"] is float
    def build() -> Total:
        return Total(Sizes().factor)
    """
    write(tmp_path, net=dedent(sizes).replace("def build", dedent(TOTAL) + "def build"))
    assert factor(load_module(f"{tmp_path}/net.py:build")) == 2.0


@pytest.mark.parametrize("source", ["{folder}/shop/nets/net.py:build", "shop.nets.net:build"])
def test_relative_imports_work_in_a_package_by_file_and_by_name(
    source: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package(tmp_path / "shop")
    package(tmp_path / "shop" / "nets")
    write(tmp_path, shop__total=TOTAL, shop__nets__layers="FACTOR = 5.0\n")
    net = "from .layers import FACTOR\nfrom ..total import Total\ndef build():\n    return Total(FACTOR)\n"
    write(tmp_path, shop__nets__net=net)
    monkeypatch.chdir(tmp_path)
    module = load_module(source.format(folder=tmp_path))
    assert factor(module) == 5.0
    assert type(module).__module__ == "shop.total"


def test_a_package_may_do_without_init_files_when_it_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, shop__total=TOTAL, shop__net="from .total import Total as build\n")
    monkeypatch.chdir(tmp_path)
    assert factor(load_module("shop.net:build")) == 1.0
    with pytest.raises(ExportError, match=r"relative import .*: its folder has no __init__\.py; add one, or name it"):
        load_module("shop/net.py:build")


def test_the_package_itself_can_hold_the_function(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, shop__total=TOTAL)
    (tmp_path / "shop" / "__init__.py").write_text("from .total import Total as build\n", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    assert factor(load_module("shop:build")) == factor(load_module("shop/__init__.py:build")) == 1.0


@pytest.mark.parametrize("name", ["random", "torch", "numpy", "onnx", "wave", "ostinato", "test"])
def test_a_file_named_like_a_library_is_loaded_and_the_library_stays_what_it_was(name: str, tmp_path: Path) -> None:
    before = sys.modules.get(name)
    write(tmp_path, **{name: "from own_total import Total\ndef build():\n    return Total(7.0)\n"})
    write(tmp_path, own_total=TOTAL)
    assert factor(load_module(f"{tmp_path}/{name}.py:build")) == 7.0
    assert sys.modules.get(name) is before


def test_a_package_named_like_a_loaded_library_is_refused_with_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path, pydantic__net="from own_total import Total as build\n", pydantic__own_total=TOTAL)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(
        ExportError, match=r"library named 'pydantic' is loaded already, .* \(pydantic/net\.py:function\)"
    ):
        load_module("pydantic.net:build")
    assert factor(load_module("pydantic/net.py:build")) == 1.0


def test_files_of_one_name_are_loaded_one_after_the_other_and_leave_nothing_behind(tmp_path: Path) -> None:
    for number in ("1", "2"):
        write(tmp_path / number, helper=f"FACTOR = {number}.0\n", own_total=TOTAL)
        write(tmp_path / number, net="import helper, own_total\ndef build(): return own_total.Total(helper.FACTOR)\n")
    path, names, main = sys.path[:], {"net", "helper", "own_total"}, sys.modules["__main__"]
    assert [factor(load_module(f"{tmp_path}/{number}/net.py:build")) for number in ("1", "2")] == [1.0, 2.0]
    with pytest.raises(ExportError, match="no attribute"):
        load_module(f"{tmp_path}/1/net.py:nothing")
    assert sys.path == path
    assert not names & set(sys.modules)
    assert sys.modules["__main__"] is main


def test_what_stands_under_the_main_guard_does_not_run(tmp_path: Path) -> None:
    text = dedent(TOTAL) + 'if __name__ == "__main__":\n    raise RuntimeError("trained again")\n'
    write(tmp_path, net=text)
    assert factor(load_module(f"{tmp_path}/net.py:Total")) == 1.0


@pytest.mark.parametrize("run_as", ["script", "module"])
def test_a_whole_network_that_a_script_has_saved_is_loaded_by_it(run_as: str, tmp_path: Path) -> None:
    """Pickles call the class ``__main__.Total`` where the script itself ran, ``net.Total`` where it was imported."""
    net = """
    from pathlib import Path
    FILE = Path(__file__).with_name("total.pt")

    def build():
        return torch.load(FILE, weights_only=False)

    if __name__ == "__main__":
        torch.save(Total(4.0), FILE)
    """
    write(tmp_path, net=dedent(TOTAL) + dedent(net))
    command = ["net.py"] if run_as == "script" else ["-c", "import net, torch; torch.save(net.Total(4.0), net.FILE)"]
    subprocess.run([sys.executable, *command], cwd=tmp_path, check=True)
    assert (b"__main__" in (tmp_path / "total.pt").read_bytes()) == (run_as == "script")
    assert factor(load_module(f"{tmp_path}/net.py:build")) == 4.0


ERRORS = {
    "missing name": ("x = 1\ndef built(): ...\n", r"net\.py has no attribute 'build'; it has built$"),
    "syntax": ("x = 1\ndef build(:\n", r"SyntaxError: .* \(.*net\.py, line 2\)$"),
    "indentation": ("def build():\nreturn 1\n", r"IndentationError: .* \(.*net\.py, line 2\)$"),
    "at import": ("x = 1\n\ny = x / 0\n", r"ZeroDivisionError: division by zero \(.*net\.py, line 3\)$"),
    "sibling": ("import broken\n", r"ZeroDivisionError: division by zero \(.*broken\.py, line 2\)$"),
    "sibling's syntax": ("import unreadable\n", r"SyntaxError: .* \(.*unreadable\.py, line 1\)$"),
    "library": ("import no_such_library\n", r"No module named 'no_such_library' \(.*net\.py, line 1\)$"),
    "in the call": (
        "def build():\n    raise RuntimeError('no\\n weights')\n",
        r"RuntimeError: no weights \(.*line 2\)$",
    ),
    "in torch": ("import torch\ndef build():\n    torch.load('x.pt')\n", r"FileNotFoundError: .*'x\.pt' \(.*line 3\)$"),
    "in a library": ("import json\nx = json.loads('{')\n", r"JSONDecodeError: .* \(.*net\.py, line 2\)$"),
    "ends": ("import sys\nsys.exit(3)\n", r"SystemExit: 3, it ends the process: .*__main__.* \(.*net\.py, line 2\)$"),
    "number": ("def build():\n    return 3\n", r"returned int, not a torch\.nn\.Module$"),
    "network": (
        "from torch import nn\nbuild = nn.Linear(1, 1)\n",
        r"build: is a network; name a function that returns it$",
    ),
    "class": (
        "from torch import nn\nclass build(nn.Module):\n    def __init__(self, size, *, layers): ...\n",
        r"needs size, layers, .*def network\(\): return build\(size=\.\.\., layers=\.\.\.\), .*net\.py:network$",
    ),
    "argument": ("def build(size): ...\n", r"TypeError: build\(\) missing 1 required positional argument: 'size'$"),
}


@pytest.mark.parametrize("case", ERRORS)
def test_what_is_wrong_is_one_sentence_with_file_and_line(case: str, tmp_path: Path) -> None:
    text, message = ERRORS[case]
    write(tmp_path, net=text, broken="x = 0\ny = 1 / x\n", unreadable="def (\n")
    with pytest.raises(ExportError) as caught:
        load_module(f"{tmp_path}/net.py:build")
    said = str(caught.value)
    assert said.startswith(f"{tmp_path}/net.py:build: ")
    assert re.search(message, said), said
    assert "\n" not in said


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("absent.py:network", r"^absent\.py: no such file$"),
        ("absent:network", r"^absent:network: ModuleNotFoundError: No module named 'absent'$"),
        ("net.py:", r"^net\.py:: name a function: package\.module:function or path/to/file\.py:function$"),
        (":build", r"name a function"),
        ("net:build", r"^net:build: ZeroDivisionError: division by zero \(net\.py, line 1\)$"),
    ],
)
def test_a_source_that_is_not_there_is_named(
    source: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path, net="x = 1 / 0\n")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ExportError, match=message):
        load_module(source)


LAZY = (
    TOTAL
    + """
    class Lazy(Total):
        def forward(self, x, total):
            from models.factors import FACTOR  # asked for while the graph is traced

            y, total = super().forward(x, total)
            return FACTOR * y, total
    """
)


def test_a_project_with_folders_of_our_names_exports_its_own_network(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("models", "service", "export"):
        package(tmp_path / name)
    write(tmp_path, models__mine="from service.sizes import SIZE\nfrom export.sizes import SIZE\n" + dedent(LAZY))
    write(tmp_path, models__factors="FACTOR = 2.0\n", service__sizes="SIZE = 1\n", export__sizes="SIZE = 1\n")
    command = [sys.executable, "-m", "ostinato.cli", "export", "models.mine:Lazy", "--repository", "repository"]
    # Our own folders of these names are to be found as well, behind the project's.
    environment = os.environ | {"PYTHONPATH": str(ROOT), "PYTHONSAFEPATH": "1"}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr + done.stdout
    assert Manifest.read(tmp_path / "repository" / "Lazy" / "1").states[0].name == "total"
    monkeypatch.chdir(tmp_path)
    assert type(load_module("models/mine.py:Lazy")).__module__ == "models.mine"


def test_a_network_is_run_after_its_folder_has_left_the_path(tmp_path: Path) -> None:
    write(tmp_path, net=TOTAL)
    module = load_module(f"{tmp_path}/net.py:Total")
    y, _ = module(torch.ones(1, 3, 1), torch.zeros(1, 1, dtype=torch.float64))
    assert y.flatten().tolist() == [1.0, 2.0, 3.0]
