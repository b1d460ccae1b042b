"""Advice: what a client does about each code of an error, in Markdown; ``docs/reference_errors.md`` is made of it."""

from __future__ import annotations

ADVICE = {
    "malformed_request": "Speak HTTP/1.1, send a body as it is or in chunks, and let it be what its `Content-Encoding` "
    "says. The connection is closed, after the answers to what came before.",
    "unauthenticated": "Show a key: `Authorization: Bearer KEY`; see [keys.md](keys.md).",
    "forbidden": "Use a key that has the right which the detail names.",
    "origin_refused": "A page of another site asked for a stream, or posted without a `Content-Type`, or as a form: "
    "name the site in `--allow-origin`.",
    "host_refused": "The server is for its own machine, and was asked by another name: `--allow-host` adds the name, "
    "and `--keys` or `--open` lift this.",
    "unknown_model": "Check the name and the version. `GET /v1/models` lists what is served, and why the rest is not.",
    "unknown_session": "Check the id. A session that ended long ago is unknown, too.",
    "unknown_checkpoint": "Check the name. `GET /v1/checkpoints` lists them.",
    "unknown_route": "Check the path: [reference_http.md](reference_http.md) has all of them.",
    "method_not_allowed": "Use a method of the header `Allow`.",
    "request_timeout": "Send the head of a request within `--head-seconds`, and its body within `--deadline-seconds`.",
    "seq_conflict": "Continue from `expected_seq`.",
    "time_conflict": "What is older than `last_at` is not taken, and neither is what is too far ahead; `expected_at` "
    "is next. See [times.md](times.md).",
    "session_exists": "Use the session, or choose another id.",
    "checkpoint_exists": "Use the checkpoint, delete it first, or choose another name.",
    "version_in_use": "Say what happens to the sessions that run the version; see [rollout.md](rollout.md).",
    "session_expired": "Open a new session.",
    "session_closed": "Open a new session.",
    "too_large": "Send fewer steps at a time.",
    "unsupported_media_type": "Send `application/json`, or Arrow or a safetensors file where the route reads it; as it "
    "is, or in a coding of `Accept-Encoding`.",
    "invalid_input": "Correct `field`: the place in the body; in a safetensors file, a tensor or "
    "`__metadata__.<name>`.",
    "upgrade_required": "Connect with a WebSocket client.",
    "overloaded": "Wait for `Retry-After` seconds, then retry: nothing was applied.",
    "rate_limited": "The key has asked for more than it may. Wait for `Retry-After` seconds, then retry: nothing was "
    "applied.",
    "head_too_large": "Send at most 64 KiB and 100 headers in the head of a request.",
    "run_failed": "The network gave NaN, or an infinity that it is not known to give, for this input. The session is "
    "as it was: send another input.",
    "record_unreadable": "What is stored of the session is damaged, or of another release or network. The detail says "
    "which; [stores.md](stores.md#damage) says what to do.",
    "internal": "This is a bug: the server's log has it, under the `request_id`.",
    "too_many_connections": "Close connections that are not used. `--max-connections` and `ulimit -n` are the limit.",
    "starting": "Wait for `Retry-After` seconds, then retry: nothing was applied.",
    "draining": "Wait for `Retry-After` seconds, then retry: nothing was applied.",
    "state_store_unavailable": "Wait for `Retry-After` seconds; with `seq`, send the same request again.",
    "deadline_exceeded": "With `seq`, send the same request again.",
}
