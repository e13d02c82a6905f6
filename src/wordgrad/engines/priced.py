"""A price that the user states."""

from __future__ import annotations

from wordgrad.engines.wrapper import Wrapper
from wordgrad.types import Engine, Price


class Priced(Wrapper):
    """An engine whose price is given: one that the library does not know, or that a contract changed.

    Args:
        inner: Who answers.
        price: US dollars for a million tokens.
    """

    def __init__(self, inner: Engine, price: Price) -> None:
        super().__init__(inner)
        self._price = price

    @property
    def price(self) -> Price:
        """The stated one."""
        return self._price
