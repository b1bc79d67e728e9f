"""Every error RootBlood raises on purpose.

A library's own error is translated into one of these at the seam that imports the library, and raised
`from` it. The message is one line for the person who reads it: what is wrong and what they can do next. What
only an operator should see belongs into the log. Each door has one table from these classes to its own
language: an exit status over SSH, a status code over HTTP, an exit code in the CLI.
"""


class RootBloodError(Exception):
    """Something RootBlood refuses or cannot do; `str()` is one line fit for a user's eyes."""


class InvalidInputError(RootBloodError):
    """What was asked for can never be right: a malformed name, key, setting or password."""


class TooLargeError(InvalidInputError):
    """What was sent is larger than this installation takes."""


class NotFoundError(RootBloodError):
    """There is no such account, key or environment."""


class ConflictError(RootBloodError):
    """It is there already, or it belongs to somebody else."""


class LimitReachedError(RootBloodError):
    """A limit of the installation stands in the way for now; the same request may pass later."""


class PenalizedError(LimitReachedError):
    """Too many wrong passwords came from there."""

    def __init__(self, message: str, remaining_s: float) -> None:
        """Take the message, and for how many seconds nothing more is checked."""
        super().__init__(message)
        self.remaining_s = remaining_s


class ConfigurationError(RootBloodError):
    """The installation is not set up rightly: settings, key files, schema."""


class StoreUnavailableError(RootBloodError):
    """The database does not answer."""


class EngineUnavailableError(RootBloodError):
    """The container engine does not answer."""


class ImageMissingError(RootBloodError):
    """The image of the environments is not on the engine."""


class EnvironmentFailedError(RootBloodError):
    """The engine answers, but this environment cannot be made, started or entered."""


class EnvironmentBrokenError(EnvironmentFailedError):
    """It is there, but does not do as it should: its owner may see why, and mend it, from outside."""
