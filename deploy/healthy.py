"""The image's health check: whether the server of this container is ready, asked at /readyz.

It ends with 0 if so, and with a message and 1 otherwise. Its port and TLS are those of the container's variables.
"""

from __future__ import annotations

import http.client
import os
import ssl
import sys

TIMEOUT_SECONDS = 4.0
"""Less than what the recipe gives the whole check."""

port = int(os.environ.get("OSTINATO_PORT") or 3000)
connection = http.client.HTTPConnection("127.0.0.1", port, timeout=TIMEOUT_SECONDS)
if os.environ.get("OSTINATO_CERTIFICATE"):
    # The certificate names the service and not this address; what answers here is this container itself.
    context = ssl._create_unverified_context()
    connection = http.client.HTTPSConnection("127.0.0.1", port, timeout=TIMEOUT_SECONDS, context=context)
try:
    connection.request("GET", "/readyz")
    answer = connection.getresponse()
except (OSError, http.client.HTTPException) as error:
    sys.exit(f"no answer at port {port}: {error}")
if answer.status != http.client.OK:
    sys.exit(answer.read().decode(errors="replace"))
