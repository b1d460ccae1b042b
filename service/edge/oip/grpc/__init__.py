"""The Open Inference Protocol over gRPC."""

import os

# Its library writes a line for each connection that is no TLS, past our log, and reads this once, as it starts.
os.environ.setdefault("GRPC_VERBOSITY", "ERROR")
