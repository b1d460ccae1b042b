"""Page of errors: each code with its status, what it means, and what a client does about it."""

from __future__ import annotations

from ostinato.tools.reference.fields import told
from ostinato.tools.reference.markdown import page, table

INTRODUCTION = """An error is answered as `application/problem+json` (RFC 9457). `code` is the word for programs,
`detail` the sentence for people, `field` the place in the body where there is one, and `request_id` what the server's
log calls the request. The Python client raises a `ServiceError` with the same `code`
([reference_client.md](reference_client.md)), and retries by itself what may be retried."""
OTHERS = """The Open Inference Protocol under `/v2` has these errors in a form of its own, `{"error": "..."}`, and other
statuses for some: [oip.md](oip.md). Rows of a message that failed alone have the same `code` and `detail`."""


def errors_page() -> str:
    """The page."""
    from ostinato.service.edge.advice import ADVICE
    from ostinato.service.edge.openapi.refusals import SAID
    from ostinato.service.edge.problems import INTERNAL, PROBLEMS

    means = {code: (status, SAID[kind]) for kind, (status, code) in reversed(PROBLEMS.items()) if kind in SAID}
    means[INTERNAL[1]] = (INTERNAL[0], "an error in the server, which its log describes")
    by_status = sorted((status, code) for code, (status, _) in means.items())
    overview = table(("status", "code"), ((str(status), f"[{code}](#{code})") for status, code in by_status))
    sections = (f"## {code}\n\nStatus {status}: {told(means[code][1])}\n\n{ADVICE[code]}" for status, code in by_status)
    return page("Errors", INTRODUCTION, overview, OTHERS, *sections)
