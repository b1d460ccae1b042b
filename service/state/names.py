"""Names of sessions in a store: a tenant's, ``TENANT/ID``; those of the default tenant are bare ids.

No id has a slash, and no tenant's name either, so that no two sessions have one name.
"""

from __future__ import annotations

SHELF = "~"
"""What the names of tenants begin with that nobody can be, whose sessions are checkpoints."""


def stored_name(tenant: str, session_id: str) -> str:
    """What a tenant's session is called in a store; ``tenant`` is empty for the default one."""
    return f"{tenant}/{session_id}" if tenant else session_id


def tenant_of(name: str) -> str:
    """Whose session it is."""
    return name.rpartition("/")[0]


def session_id_of(name: str) -> str:
    """What its tenant calls it."""
    return name.rpartition("/")[2]
