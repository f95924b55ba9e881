"""Names from outside that become names of files: what they may look like.

Item ids come from catalogues and from stores, which both may be anybody's.
"""

import re

from canopyflow.errors import DataError

PATTERN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


def is_plain(name: object) -> bool:
    """Whether ``name`` is a text that can only name something inside a folder."""
    return isinstance(name, str) and PATTERN.fullmatch(name) is not None


def plain(name: str, where: object) -> str:
    """``name`` itself, for those who are about to make a path of it; ``where`` it was found, for the message.

    Raises:
        DataError: it could lead out of the folder.
    """
    if not is_plain(name):
        raise DataError(
            f"{where}: item id {name!r} cannot name a file",
            "use a store made from ids of letters, digits, '.', '_' and '-'",
        )
    return name
