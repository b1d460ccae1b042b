"""Advice: what a client does about each code of an error, in Markdown; ``docs/reference_errors.md`` is made of it."""

from __future__ import annotations

ADVICE = {
    "malformed_request": "Use HTTP/1.1. Send a body with its length or in chunks, and in the coding of its "
    "`Content-Encoding`. The connection is closed after the answers to earlier requests.",
    "unauthenticated": "Send a key: `Authorization: Bearer KEY`; see [keys.md](keys.md).",
    "forbidden": "Use a key with the right that `detail` names.",
    "origin_refused": "A page of another site asked for a stream, or sent a POST without a `Content-Type` or as a "
    "form. Name the site in `--allow-origin`.",
    "host_refused": "Without keys, a server answers only to the names of its own machine. Add the name with "
    "`--allow-host`. With `--keys` or `--open` any name may be used.",
    "unknown_model": "Check the name and the version. `GET /v1/models` lists what is served, and why the rest is not.",
    "unknown_session": "Check the id. A session that ended long ago is unknown, too.",
    "unknown_checkpoint": "Check the name. `GET /v1/checkpoints` lists them.",
    "unknown_route": "Check the path: [reference_http.md](reference_http.md) lists all paths.",
    "method_not_allowed": "Use a method of the header `Allow`.",
    "request_timeout": "Send the head of a request within `--head-seconds`, and its body within `--deadline-seconds`.",
    "seq_conflict": "Continue from `expected_seq`.",
    "time_conflict": "Send steps that are later than `last_at`, and not too far ahead; `expected_at` is the next "
    "time. See [times.md](times.md).",
    "session_exists": "Use the session, or choose another id.",
    "checkpoint_exists": "Use the checkpoint, delete it first, or choose another name.",
    "version_in_use": "Say what happens to the sessions that run the version; see [rollout.md](rollout.md).",
    "session_expired": "Open a new session.",
    "session_closed": "Open a new session.",
    "too_large": "Send fewer steps at a time.",
    "unsupported_media_type": "Send `application/json`, or Arrow or a safetensors file where the route reads it. Send "
    "it without a coding, or in one that the answer's `Accept-Encoding` lists.",
    "invalid_input": "Correct `field`: the place in the body; in a safetensors file, a tensor or "
    "`__metadata__.<name>`.",
    "upgrade_required": "Connect with a WebSocket client.",
    "overloaded": "Wait for `Retry-After` seconds, then retry: nothing was applied.",
    "rate_limited": "The key has sent more than its limits. Wait for `Retry-After` seconds, then retry: nothing was "
    "applied.",
    "head_too_large": "Send at most 64 KiB and 100 headers in the head of a request.",
    "run_failed": "For this input the network gave NaN, or an infinity that its manifest does not allow. The session "
    "did not change: send another input.",
    "record_unreadable": "The stored session is damaged, or from another release or network. `detail` says which; "
    "[stores.md](stores.md#damage) says what to do.",
    "internal": "This is a bug in the server. Its log has the error under the `request_id`: please report it.",
    "too_many_connections": "Close connections that are not used. `--max-connections` and `ulimit -n` are the limit.",
    "starting": "Wait for `Retry-After` seconds, then retry: nothing was applied.",
    "draining": "Wait for `Retry-After` seconds, then retry: nothing was applied.",
    "state_store_unavailable": "Wait for `Retry-After` seconds. Then retry, if the request has `seq` or changes "
    "nothing.",
    "deadline_exceeded": "Retry, if the request has `seq` or changes nothing: it may have been applied.",
}
