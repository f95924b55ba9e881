"""What is known, doubted or assumed about a scene beyond its pixels: one record that travels to the map.

Evidence is written into the scene store's record, sets informing bits in the mask store's ``quality`` and in
the product's ``flags``, and is told by the published item. It never masks a pixel.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

OFFSET_CORRECTED = "offset_corrected"
"""The pixels contradicted the declared offset clearly, and the scene was written with the other one."""
OFFSET_DOUBTED = "offset_doubted"
"""The pixels speak against the decided offset, but not clearly enough to overrule it."""
OFFSET_UNKNOWABLE = "offset_unknowable"
"""The pixels cannot confirm the decided offset: too little vegetation. Sets no bit."""
ANGLES_ASSUMED = "angles_assumed"
"""Neither metadata nor item gives an angle that the retrieval uses."""
DUPLICATE = "duplicate"
"""The same datatake is in the tile more than once, in complementary or overlapping strips."""

KINDS = (OFFSET_CORRECTED, OFFSET_DOUBTED, OFFSET_UNKNOWABLE, ANGLES_ASSUMED, DUPLICATE)


@dataclass(frozen=True)
class Evidence:
    """One finding about a scene: ``kind`` is one of ``KINDS``, ``detail`` a sentence for people."""

    kind: str
    detail: str

    def to_dict(self) -> dict[str, str]:
        """As it is kept in the record of a scene store and in published items."""
        return asdict(self)


def of_record(record: Mapping[str, Any]) -> tuple[Evidence, ...]:
    """Evidence in a scene's record; none in stores of versions that did not keep it."""
    return tuple(Evidence(str(e["kind"]), str(e["detail"])) for e in record.get("evidence", ()))


def of_item(item: Mapping[str, Any]) -> tuple[Evidence, ...]:
    """Evidence that the search pinned with the item: other items of the same datatake in its tile."""
    others = [str(name) for name in item.get("canopyflow", {}).get("duplicates", ())]
    if not others:
        return ()
    return (Evidence(DUPLICATE, f"the same datatake is in the tile as {', '.join(others)} too"),)
