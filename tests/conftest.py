"""How tests are shared out between processes."""

import pytest


@pytest.hookimpl(tryfirst=True)  # before the plugin reads the marks
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """A file's tests stay together, and so do all that share a finished campaign: it is run once.

    Those come first, being the longest group: nobody waits for them at the end.
    """
    shared = {item: "finished" in getattr(item, "fixturenames", ()) for item in items}
    for item in items:
        item.add_marker(pytest.mark.xdist_group("finished" if shared[item] else str(item.path)))
    items.sort(key=lambda item: not shared[item])
