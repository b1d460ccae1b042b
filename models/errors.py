"""Errors before and while a network is trained, as one tree.

TrainingError
|- RecipeError    the recipe file is absent, is not TOML, or a key of it is wrong; names file and key
|- DataError      the CSV file is absent or does not hold what the recipe says; names file, line and column
|- Diverged       the loss became infinite or not a number
`- RunError       a run directory is absent or damaged
"""

from __future__ import annotations


class TrainingError(Exception):
    """Base of every error that training raises on purpose; ``str(error)`` says what to do."""


class RecipeError(TrainingError):
    """The recipe cannot be used; the message names the file and the key."""


class DataError(TrainingError):
    """The data cannot be used; the message names the file, and the line and column where there is one."""


class Diverged(TrainingError):
    """The loss or the validation error is no longer a finite number; the message says what to change."""


class RunError(TrainingError):
    """The run directory cannot be read; the message names the file."""
