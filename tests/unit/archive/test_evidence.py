"""Evidence as it is kept in records and pinned items."""

from canopyflow.archive.evidence import DUPLICATE, KINDS, Evidence, of_item, of_record


def test_evidence_survives_a_record() -> None:
    found = [Evidence(kind, f"about {kind}") for kind in KINDS]
    assert list(of_record({"evidence": [e.to_dict() for e in found]})) == found
    assert of_record({"id": "a store of an earlier version"}) == ()


def test_duplicates_are_what_the_search_pinned() -> None:
    (found,) = of_item({"id": "a", "canopyflow": {"duplicates": ["b", "c"]}})
    assert found.kind == DUPLICATE
    assert "b, c" in found.detail
    assert of_item({"id": "a", "canopyflow": {"duplicates": []}}) == of_item({"id": "a"}) == ()
