"""Settings: each is written once, in ``settings.py``; flags, variables, help and reference are made of it."""

from ostinato.service.config.handing import handed_on, names_files
from ostinato.service.config.origins import ALL_ORIGINS, origins_of, plain_origin
from ostinato.service.config.places import absolute_address
from ostinato.service.config.printing import as_toml
from ostinato.service.config.reading import Configuration, read_configuration, redacted
from ostinato.service.config.settings import Settings
from ostinato.service.config.sources import unknown_variables
from ostinato.service.config.times import MAX_TTL_SECONDS, MIN_TTL_SECONDS, is_time_to_live
from ostinato.service.config.traits import PREFIX, Traits, traits_of, variable_of

__all__ = [
    "ALL_ORIGINS",
    "MAX_TTL_SECONDS",
    "MIN_TTL_SECONDS",
    "PREFIX",
    "Configuration",
    "Settings",
    "Traits",
    "absolute_address",
    "as_toml",
    "handed_on",
    "is_time_to_live",
    "names_files",
    "origins_of",
    "plain_origin",
    "read_configuration",
    "redacted",
    "traits_of",
    "unknown_variables",
    "variable_of",
]
