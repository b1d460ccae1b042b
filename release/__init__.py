"""Programs that make and check a release; no part of the package."""
