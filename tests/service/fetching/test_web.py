from __future__ import annotations

import subprocess
from collections import Counter
from pathlib import Path

import pytest

from ostinato.service.errors import FetchFailed
from tests.service.fetching.conftest import packed, tree_of
from tests.service.fetching.test_fetching import bring
from tests.service.fetching.web_server import RESET, Reply, files_of, running_web


@pytest.mark.parametrize("end", ["", "/", "?token=secret"])
def test_a_version_lies_below_its_address(end: str, origin: Path, repository: Path) -> None:
    with running_web(files_of(origin)) as web:
        shown = f"http://{web.address}/sums/1{end.partition('?')[0]}"
        assert bring(f"http://{web.address}/sums/1{end}", repository) == [f"sums/1: fetched, from {shown}"]
        asked = list(web.asked)
        bring(f"http://{web.address}/sums/1{end}", repository)
        assert web.asked[len(asked) :] == asked[:1], "of what is there, the manifest alone is asked for"
    assert tree_of(repository) == tree_of(origin)
    query = end if end.startswith("?") else ""
    assert set(asked) == {f"/sums/1/{name}{query}" for name in ("model.json", "model.onnx", "golden.safetensors")}


@pytest.mark.parametrize("ending", [".tar.gz", ".zip"])
def test_an_archive_is_fetched_and_its_secrets_are_not_shown(
    ending: str, origin: Path, repository: Path, tmp_path: Path
) -> None:
    (tmp_path / "web").mkdir()
    packed(origin, tmp_path / "web" / f"models{ending}")

    def answer(path: str, headers: dict[str, str]) -> Reply:
        return files_of(tmp_path / "web")(path, headers) if headers.get("authorization") else Reply(401)

    with running_web(answer) as web:
        address = f"{web.address}/models{ending}"
        assert bring(f"http://me:secret@{address}?sig=secret", repository) == [
            f"sums/1: fetched, from http://{address}"
        ]
        with pytest.raises(FetchFailed, match=r"answers 401 Unauthorized; put user and password into the address"):
            bring(f"http://{address}", repository)


def cut(origin: Path, path: str) -> Reply:
    content = (origin / path.lstrip("/")).read_bytes()
    return Reply(200, content[:20], length=len(content))


@pytest.mark.parametrize(
    ("what", "sentence"),
    [
        ("nothing", r"there is no model\.json"),
        ("fault", "the server answers 500 Internal Server Error"),
        ("cut", "model.onnx: .*; fetch it again|fetch it again"),
        ("another", r"model\.onnx: its SHA-256 is \w+ and not \w+; it was changed, or cut short on the way"),
        ("circle", "Exceeded maximum allowed redirects"),
        ("half", r"there is no model\.onnx"),
    ],
)
def test_what_goes_wrong_is_told_leaves_nothing_and_can_be_repeated(
    what: str, sentence: str, origin: Path, repository: Path
) -> None:
    is_wrong = True

    def answer(path: str, headers: dict[str, str]) -> Reply:
        is_graph = path.endswith("model.onnx")
        if not is_wrong or (what in ("cut", "another", "half") and not is_graph):
            return files_of(origin)(path, headers)
        return {
            "nothing": Reply(404),
            "half": Reply(404),
            "fault": Reply(500),
            "cut": cut(origin, path),
            "another": Reply(200, b"another"),
            "circle": Reply(302, headers={"Location": path}),
        }[what]

    with running_web(answer) as web:
        with pytest.raises(FetchFailed, match=sentence):
            bring(f"http://{web.address}/sums/1", repository)
        assert list(repository.iterdir()) == []
        is_wrong = False
        assert bring(f"http://{web.address}/sums/1", repository)


def test_it_goes_where_the_server_leads(origin: Path, repository: Path) -> None:
    with running_web(files_of(origin)) as other:

        def lead(path: str, _headers: dict[str, str]) -> Reply:
            return Reply(307, headers={"Location": f"http://{other.address}{path}"})

        with running_web(lead) as web:
            assert bring(f"http://{web.address}/sums/1", repository)


def test_nobody_is_there(repository: Path) -> None:
    with running_web(files_of(repository)) as web:
        address = web.address
    with pytest.raises(FetchFailed, match=f"http://{address}/a/model.json: .*refused, 5 times; fetch it again later"):
        bring(f"http://{address}/a", repository)


@pytest.mark.parametrize("what", ["429", "502", "503", "504", "reset", "cut"])
@pytest.mark.parametrize("times", [1, 4])
def test_a_server_that_fails_for_a_while_is_asked_again(what: str, times: int, origin: Path, repository: Path) -> None:
    failed: Counter[str] = Counter()

    def answer(path: str, headers: dict[str, str]) -> Reply:
        whole = files_of(origin)(path, headers)
        if failed[path] == times:
            return whole
        failed[path] += 1
        if what == "reset":
            return Reply(RESET)
        if what == "cut":  # each attempt comes further than the one before
            return Reply(200, whole.content[: 10 * failed[path]], length=len(whole.content))
        return Reply(int(what), headers={"Retry-After": "0"})

    with running_web(answer) as web:
        assert bring(f"http://{web.address}/sums/1", repository)
        assert Counter(web.asked) == dict.fromkeys(failed, times + 1)
    assert len(failed) == 3
    assert tree_of(repository) == tree_of(origin)


@pytest.mark.parametrize("what", ["503", "reset", "cut"])
def test_a_server_that_fails_on_and_on_is_given_up(what: str, origin: Path, repository: Path) -> None:
    def answer(path: str, _headers: dict[str, str]) -> Reply:
        return {"503": Reply(503), "reset": Reply(RESET), "cut": cut(origin, path)}[what]

    with running_web(answer) as web:
        with pytest.raises(FetchFailed, match="5 times; fetch it again later"):
            bring(f"http://{web.address}/sums/1", repository)
        assert web.asked == ["/sums/1/model.json"] * 5
    assert list(repository.iterdir()) == []


@pytest.mark.parametrize("status", [400, 401, 403, 404, 410, 500, 501, 505, 599])
def test_what_would_be_answered_again_is_asked_once(status: int, repository: Path) -> None:
    with running_web(lambda _path, _headers: Reply(status)) as web:
        with pytest.raises(FetchFailed):
            bring(f"http://{web.address}/a", repository)
        assert len(web.asked) == 1


def test_a_file_that_changes_between_two_attempts_is_refused(repository: Path) -> None:
    """Its two halves would be those of two files."""
    replies = [Reply(200, b"the one", length=99), Reply(200, b"another file")]
    with running_web(lambda _path, _headers: replies.pop(0)) as web, pytest.raises(FetchFailed, match="was changed"):
        bring(f"http://{web.address}/a.zip", repository)


def test_a_server_says_nothing_to_the_terminal(repository: Path) -> None:
    reply = Reply(500, reason="\x1b[31mevil")
    with running_web(lambda _path, _headers: reply) as web, pytest.raises(FetchFailed) as caught:
        bring(f"http://{web.address}/a", repository)
    assert "answers 500 Internal Server Error; ask those who run it" in str(caught.value)


@pytest.mark.parametrize("location", ["http://me:s3cret/..@h:x/", "http://\x7f/"])
def test_a_server_that_leads_to_no_address_is_told_without_it(location: str, repository: Path) -> None:
    reply = Reply(302, headers={"Location": location})
    with running_web(lambda _path, _headers: reply) as web, pytest.raises(FetchFailed) as caught:
        bring(f"http://{web.address}/a", repository)
    assert str(caught.value).endswith("the server leads to what is no address; name the right one")


def test_over_tls_a_server_shows_a_certificate_that_is_trusted(
    origin: Path, repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    certificate, key = tmp_path / "own.crt", tmp_path / "own.key"
    words = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 30 -subj /CN=own"
    files = ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(key), "-out", str(certificate)]
    subprocess.run(["openssl", *words.split(), *files], check=True, capture_output=True)

    with running_web(files_of(origin), tls=(certificate, key)) as web:
        source = f"https://{web.address}/sums/1"
        monkeypatch.delenv("SSL_CERT_FILE", raising=False)
        with pytest.raises(FetchFailed, match=r"CERTIFICATE_VERIFY_FAILED.*; SSL_CERT_FILE names a file") as caught:
            bring(source, repository)
        assert "times" not in str(caught.value), "which would be the same again"
        assert web.asked == []
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
        assert bring(source, repository) == [f"sums/1: fetched, from {source}"]

        def lead(path: str, _headers: dict[str, str]) -> Reply:
            return Reply(302, headers={"Location": f"http://{plain.address}{path}"})

        with (
            running_web(files_of(origin)) as plain,
            running_web(lead, tls=(certificate, key)) as leading,
            pytest.raises(FetchFailed, match=r"it leads to 127\.0\.0\.1 without TLS; name that address if you mean it"),
        ):
            bring(f"https://{leading.address}/sums/1", repository)
    assert tree_of(repository) == tree_of(origin)
