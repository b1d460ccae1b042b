"""Connectors as processes: real ends, a real service, and kills; the fold over what was read is the judge."""
