"""The login at a registry: user and password of the address or of ``docker login``, and the token they are worth."""

from __future__ import annotations

import base64
import json
import os
import re
import time
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import httpx2

from ostinato.service.errors import FetchFailed
from ostinato.service.fetching.sources import ModelSource
from ostinato.service.fetching.web import document_of, head_of

RENEW_SECONDS = 50.0
"""A token lives for a minute at least, and a large file may take longer than the next one's."""
MAX_TOKEN_BYTES = 1024**2
_TOKEN = re.compile(r"[!-~]+")
_PARAMETER = re.compile(r'(\w+)="([^"]*)"')


class RegistryLogin:
    """What shows a registry who asks."""

    def __init__(self, client: httpx2.Client, source: ModelSource, host: str, name: str) -> None:
        self._client, self._shown, self._name = client, source.shown, name
        self._basic = _of_address(source.address) or _of_docker(host)
        self._headers: dict[str, str] = {}
        self._renew_at = 0.0

    def headers_for(self, url: str) -> dict[str, str]:
        """What a request carries; the first one asks the registry what it wants, and so does one much later.

        Raises:
            FetchFailed: it wants something else, or does not let us in.
        """
        if time.monotonic() >= self._renew_at:
            self._headers = self._ask(url)
            self._renew_at = time.monotonic() + RENEW_SECONDS
        return self._headers

    def _ask(self, url: str) -> dict[str, str]:
        with head_of(self._client, url, {"Accept": "*/*"}) as answer:
            if answer.status_code != 401:
                return {}
            challenge = answer.headers.get("www-authenticate", "")
        scheme, _, rest = challenge.partition(" ")
        if scheme.lower() == "basic" and self._basic:
            return {"Authorization": f"Basic {self._basic}"}
        asked = dict(_PARAMETER.findall(rest))
        if scheme.lower() != "bearer" or not self._is_trusted(asked.get("realm", ""), url):
            raise FetchFailed(f"{self._shown}: the registry asks who you are; 'docker login' there first")
        scope = asked.get("scope", f"repository:{self._name}:pull")
        headers = {"Authorization": f"Basic {self._basic}"} if self._basic else {}
        question = {"service": asked.get("service", ""), "scope": scope}
        place = str(httpx2.URL(asked["realm"]).copy_merge_params(question))
        try:
            told: Any = json.loads(document_of(self._client, place, self._shown, MAX_TOKEN_BYTES, lambda: headers))
            token = _TOKEN.fullmatch(told.get("token") or told["access_token"])
        except (FileNotFoundError, ValueError, KeyError, AttributeError, TypeError, RecursionError):
            token = None
        if token is None:
            raise FetchFailed(f"{self._shown}: the registry gives no token; 'docker login' there first")
        return {"Authorization": f"Bearer {token[0]}"}

    def _is_trusted(self, realm: str, url: str) -> bool:
        """Whether a token may be asked for there: over TLS, or at the registry itself."""
        asked, here = urlsplit(realm), urlsplit(url)
        return asked.scheme == "https" or (asked.scheme, asked.hostname) == (here.scheme, here.hostname)


def _of_address(address: str) -> str:
    split = urlsplit(address)
    if split.username is None:
        return ""
    return _encoded(f"{unquote(split.username)}:{unquote(split.password or '')}")


def _of_docker(host: str) -> str:
    """What ``docker login`` has kept of a registry, where it kept it in its file."""
    folder = os.environ.get("DOCKER_CONFIG") or Path(os.environ.get("HOME", "/")) / ".docker"
    try:
        kept: Any = json.loads((Path(folder) / "config.json").read_bytes())
        return str(kept["auths"][host]["auth"])
    except (OSError, ValueError, KeyError, TypeError):
        return ""


def _encoded(words: str) -> str:
    return base64.b64encode(words.encode()).decode()
