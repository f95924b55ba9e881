"""The one exception type a user is meant to read."""


class CanopyflowError(Exception):
    """A problem the user can act on: names the thing at fault and the remedy.

    Scripts and the command line print its message as one line and exit with
    status 1; anything else that is raised is a defect and keeps its traceback.
    """

    def __init__(self, problem: str, remedy: str | None = None) -> None:
        self.problem = problem
        self.remedy = remedy
        super().__init__(problem if remedy is None else f"{problem} — {remedy}")


class ConfigError(CanopyflowError):
    """The campaign file is wrong: the message starts with the path of the key."""


class ArchiveError(CanopyflowError):
    """A catalogue, item or asset could not be used."""


class ArchiveUnreachable(ArchiveError):
    """The archive did not answer: trying again later may help, giving up on the scene would not."""


class DataError(CanopyflowError):
    """A table, store or bundle that was handed in cannot be right."""


class DensityError(CanopyflowError):
    """The exact density was asked of a posterior that has none, only a bound."""
