"""The true posterior of some pixels."""

from pydantic import Field

from canopyflow.config.block import Block


class Reference(Block):
    """The true posterior of some pixels, by long Markov chains: what every model is held against."""

    simulated: int = Field(32, ge=1, description="held-back simulations sampled")
    observed: int = Field(8, ge=0, description="clear pixels of the test patches sampled; 0: none")
    draws: int = Field(1000, ge=100, description="draws kept per pixel")
    rounds: int = Field(16, ge=1, description="chains that mix badly are run on, at most this often")
