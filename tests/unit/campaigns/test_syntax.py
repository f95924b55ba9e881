"""Reading sources for fingerprints, and the cache that spares it."""

import json

import pytest

from canopyflow.campaigns import syntax

TEXT = "import os\n\n\ndef f(a, /, *b: int, c=None, **d) -> None: return None, ..., -1e9, os.sep\n"
DIGEST = "cd80fdf85b20a92a"


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """Path of an empty cache of this process alone."""
    path = tmp_path / "cache" / "syntax.json"
    monkeypatch.setattr(syntax, "_path", lambda: path)
    again()
    yield path
    again()


def again():
    """As a new process would begin."""
    syntax.read.cache_clear()
    syntax._known.cache_clear()


def test_the_digest_is_that_of_every_python(cache):
    """Syntax trees gain and lose empty fields from one version to the next."""
    digest, imports = syntax.read(TEXT)
    assert digest.hex()[:16] == DIGEST
    assert imports == ((0, "os", ""),)


def test_what_is_kept_is_read_as_it_was(cache):
    fresh = syntax.read(TEXT)
    syntax.keep()
    assert [path.name for path in cache.parent.iterdir()] == [cache.name]
    again()
    assert syntax.read(TEXT) == fresh
    # It is the cache that answers, and only for this text.
    known = json.loads(cache.read_text())
    cache.write_text(json.dumps({key: ["00", []] for key in known}))
    again()
    assert syntax.read(TEXT) == (b"\0", ())
    assert syntax.read(TEXT.replace("1e9", "1e8")).digest not in (b"\0", fresh.digest)


def test_another_reader_believes_no_cache(cache, monkeypatch):
    fresh = syntax.read(TEXT)
    syntax.keep()
    cache.write_text(cache.read_text().replace(fresh.digest.hex(), "00"))
    monkeypatch.setattr(syntax, "_OWN", b"another text of syntax.py")
    again()
    assert syntax.read(TEXT) == fresh


@pytest.mark.parametrize("broken", ["", '{"half', "[1]", "\ud800"])
def test_a_broken_cache_is_written_anew(cache, broken):
    cache.parent.mkdir()
    cache.write_bytes(broken.encode(errors="surrogatepass"))
    fresh = syntax.read(TEXT)
    assert fresh.digest.hex()[:16] == DIGEST
    syntax.keep()
    again()
    assert syntax.read(TEXT) == fresh
    assert len(json.loads(cache.read_text())) == 1


def test_without_a_place_for_it_nothing_is_kept(cache):
    cache.parent.write_text("a file where the folder would be\n")
    assert syntax.read(TEXT).digest.hex()[:16] == DIGEST
    syntax.keep()


def test_the_oldest_texts_go(cache, monkeypatch):
    monkeypatch.setattr(syntax, "KEPT", 2)
    for number in range(3):
        syntax.read(f"x = {number}\n")
    first, *others = syntax._known()
    syntax.keep()
    assert list(json.loads(cache.read_text())) == others
    assert first not in others
