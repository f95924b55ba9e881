"""Seeds from words: every random number of a campaign starts from one of these."""

import hashlib


def seed_of(*words: int | str) -> int:
    """A 63-bit seed from ``words``, the same in every process; a trailing 0 counts, unlike in numpy's."""
    digest = hashlib.sha256("/".join(map(str, words)).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1
