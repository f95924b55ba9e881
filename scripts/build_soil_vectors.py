"""Build ``src/canopyflow/physics/soils.npz``, the vectors that dry soils are made of. Run once, by hand.

    python scripts/build_soil_vectors.py DryVec.txt

``DryVec.txt``: the three dry general spectral vectors of Jiang & Fang 2019 (Int. J. Appl. Earth Obs. Geoinf.
83, 101932), one per line, 400 to 2500 nm in steps of 10; the authors' table as it lies in
github.com/silmae/HyperBlend, ``src/soil/DryVec.txt`` (MIT). Only numbers are taken. They are interpolated
linearly to each nanometre, as the authors do.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from canopyflow.atomic import atomic_file
from canopyflow.physics.bands import WAVELENGTHS

TARGET = Path(__file__).parents[1] / "src" / "canopyflow" / "physics" / "soils.npz"
STEP = 10


def main() -> None:
    vectors = np.loadtxt(sys.argv[1])
    known = WAVELENGTHS[::STEP]
    if vectors.shape != (3, known.size):
        raise SystemExit(f"{sys.argv[1]} holds {vectors.shape}, expected {(3, known.size)}")
    with atomic_file(TARGET) as scratch, scratch.open("wb") as stream:
        np.savez_compressed(stream, vectors=vectors)
    print(f"{TARGET}: {TARGET.stat().st_size} bytes")


if __name__ == "__main__":
    main()
