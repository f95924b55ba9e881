"""Plain networks at the speed of the processor: a layer and its activation as one operation."""

import torch
from torch import Tensor, nn

_HAS_FUSED = torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_linear_pointwise")
"""Whether this torch has oneDNN, and its layers with an activation."""


def activated(layers: nn.Sequential, inputs: Tensor) -> Tensor:
    """Output (n, width) of ``layers``, each linear one followed by SiLU, for ``inputs`` (n, inputs).

    Where nothing is learned any more, and on a processor, a layer and its activation are one operation of
    oneDNN, which takes half the time. Its interface is torch's own and not documented; without it the layers
    are computed as they are trained.
    """
    first = layers[0]
    assert isinstance(first, nn.Linear)
    if first.weight.requires_grad or inputs.device.type != "cpu" or not _HAS_FUSED:
        hidden: Tensor = layers(inputs)
        return hidden
    for layer in layers:
        if isinstance(layer, nn.Linear):
            inputs = torch.ops.mkldnn._linear_pointwise(inputs, layer.weight, layer.bias, "swish", [], "")
    return inputs
