"""What is derived from the variables of PROSAIL."""

from torch import Tensor

from canopyflow.vocabulary import NAMES


def derived(variables: Tensor) -> dict[str, Tensor]:
    """Canopy totals of ``variables`` (..., 11): ``ccc`` = lai·cab, ``cwc`` = lai·cw, each (...).

    One centimetre of water weighs 1 g cm⁻², hence the unit of ``cwc``.
    """
    lai = variables[..., NAMES.index("lai")]
    return {"ccc": lai * variables[..., NAMES.index("cab")], "cwc": lai * variables[..., NAMES.index("cw")]}
