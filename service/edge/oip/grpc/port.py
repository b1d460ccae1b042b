"""The port for gRPC: the parent of the workers takes it and keeps it, and each worker listens at it by itself.

The workers cannot share one listening socket, since gRPC opens its own. With ``SO_REUSEPORT`` the kernel deals out
connections among theirs. That option lets every process of the same user join in, so the parent binds without it,
which fails where anybody is there, and sets it then. What it holds never listens: while no worker does, connections are
refused.
"""

from __future__ import annotations

import socket

ANY_PORT = 0


def hold_port(host: str, port: int) -> socket.socket:
    """A socket that keeps a port for workers to listen at; ``port`` 0 = any free one.

    Raises:
        OSError: somebody else has it, or there is no such address.
    """
    held = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    try:
        # The connections of a server before this one may be remembered at the port; they are no reason against it.
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        held.bind((host, port))
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 0)
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    except OSError:
        held.close()
        raise
    return held


def address_of(host: str, port: int) -> str:
    """``host:port``, as gRPC and its clients write it."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
