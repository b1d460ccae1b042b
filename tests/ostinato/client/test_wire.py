from __future__ import annotations

import pytest

from ostinato.client.wire import options


@pytest.mark.parametrize(
    ("urls", "verify"),
    [
        (["http://a", "http://b"], False),
        (["https://a"], True),
        (["HTTPS://a"], True),
        (["http://a", "https://b"], True),
    ],
)
def test_certificates_are_checked_wherever_one_address_speaks_tls(urls: list[str], verify: bool) -> None:
    assert options(urls, 20.0)["verify"] is verify
