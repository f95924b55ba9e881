"""Masked autoregressive flow: fast density, sequential draws.

In each layer a variable is shifted and scaled by what the *variables* before it and the features h say:

    yᵢ = xᵢ · exp(sᵢ(y₁ … yᵢ₋₁, h)) + tᵢ(y₁ … yᵢ₋₁, h)

One masked network gives all s and t at once; every second layer goes through the variables in reverse order.
Shifts stay within ±6 and scales within [0.01, 100]. log |∂y/∂x| = Σ s. Network, affine map and the
sequential inverse are zuko's. The density at a point takes one network pass per layer, a draw as many as
there are variables; ``iaf`` is the same flow walked the other way.

It is made for training on simulations (``npe``) and few draws, as for plots and tables. For maps take
``iaf`` or ``nsf``: a draw costs some ten times as much here. Each conditional of one layer is normal.
"""

from ._autoregressive import AutoregressiveFlow


class MaskedAutoregressiveFlow(AutoregressiveFlow):
    """Options: ``transforms`` layers, ``hidden`` widths, none less than the number of variables."""

    summary = "masked autoregressive flow: fast density, sequential draws"
    reference = "Papamakarios, Pavlakou & Murray 2017, arXiv:1705.07057"
    cost = "draw: D network passes per layer; density: 1"
    sequential_push = True


FAMILY = MaskedAutoregressiveFlow
