"""List prices of known models."""

from __future__ import annotations

from genai_prices import Usage, calc_price

from wordgrad.types import Price

_MILLION = 1_000_000


def price_of(model: str) -> Price | None:
    """What a million tokens of `model` cost by the table of genai-prices (no network); None where it is not listed.

    A model with steps in its price has that of a short request.
    """
    try:
        read = _price(model, Usage(input_tokens=_MILLION))
        cached = _price(model, Usage(input_tokens=_MILLION, cache_read_tokens=_MILLION))
        return Price(input_usd=read, output_usd=_price(model, Usage(output_tokens=_MILLION)), cached_input_usd=cached)
    except LookupError:
        return None


def _price(model: str, usage: Usage) -> float:
    return float(calc_price(usage, model_ref=model).total_price)
