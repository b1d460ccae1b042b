"""Drafts of a connector's file, one for each kind of source: they work as they are, where the brokers are this
machine's.
"""

from __future__ import annotations

from ostinato.errors import InputError

_SERVICE = """# `ostinato connect {name}.toml` carries readings through a model's sessions, one session for each key.
# Every member that there is, and what is promised: docs/connectors.md

[service]
url = "http://127.0.0.1:3000"
model = "{model}"            # its features are the members of a message, unless [mapping] inputs says otherwise
# The service's key, where it asks for one, is in the environment: OSTINATO_KEY

"""

_MAPPING = """
[mapping]
format = "json"              # or csv, binary
{key}
# time = "time"              # a member with seconds since 1970, or ISO 8601; for [late]
# inputs = {{ temperature = "temp" }}   # feature = member, where their names differ

# [late]
# rule = "drop"              # what is older than what was applied of its key; or hold or replay, with a window:
# window_seconds = 0         # until one of their partition is so much newer, readings wait, or may be corrected

[dead_letter]
to = "{dead_letters}"

[metrics]
port = 0                     # where Prometheus asks; 0 = nowhere

# Of a calibrated model, events (anomalies, levels that are crossed) are posted, signed as Standard Webhooks has it:
# [webhook]
# url = "https://alerts.example/hook"
# secret_file = "webhook.secret"        # made by: openssl rand -base64 32 > webhook.secret
# events = ["anomaly_began"]            # of anomaly_began, anomaly_ended, level_began, level_ended; without it, all
"""

_ENDS = {
    "kafka": """[source]
kind = "kafka"
brokers = "127.0.0.1:9092"
topic = "readings"
group = "ostinato"

[sink]
kind = "kafka"
topic = "answers"
# transactional_id = "ostinato-1"      # one for each connector of the group; empty = by the host's name
""",
    "mqtt": """[source]
kind = "mqtt"
host = "127.0.0.1"
topic = "readings/+"
qos = 1
# offset = "seq"             # a member that counts a key's messages: with it a reading is never applied twice

[sink]
kind = "mqtt"
topic = "answers/{key}"
qos = 1
""",
    "redis": """[source]
kind = "redis"
url = "redis://127.0.0.1:6379/0"
stream = "readings"          # entries with the fields value and, perhaps, key

[sink]
kind = "redis"
url = "redis://127.0.0.1:6379/0"
stream = "answers"
""",
    "file": """[source]
kind = "file"
path = "readings.jsonl"
follow = false               # true = wait for more at its end

[sink]
kind = "file"
path = "answers.jsonl"
""",
    "stdin": """[source]
kind = "stdin"

[sink]
kind = "stdout"
""",
}
_DEAD_LETTERS = {"kafka": "dead-letters", "mqtt": "dead-letters", "redis": "dead-letters"}
_OWN_KEYS = {"kafka", "mqtt", "redis"}


def draft_of(kind: str, model: str) -> str:
    """A file for this kind of source, with a sink of the same.

    Raises:
        InputError: there is no such kind.
    """
    if kind not in _ENDS:
        raise InputError(f"--init {kind}: there is {', '.join(_ENDS)}")
    key = 'key = "key"                  # the member that names the session'
    if kind in _OWN_KEYS:
        key = '# key = "device"             # the member that names the session; without it, the message\'s own key'
        key += " or topic" if kind == "mqtt" else ""
    dead_letters = _DEAD_LETTERS.get(kind, "dead-letters.jsonl")
    head = _SERVICE.format(name="connect", model=model)
    return head + _ENDS[kind] + _MAPPING.format(key=key, dead_letters=dead_letters)
