"""What an SDK raises, as what a caller can act on."""

from __future__ import annotations

import time
from email.utils import parsedate_to_datetime
from typing import Any

from wordgrad.errors import EngineError

_RETRYABLE = (408, 409, 429)
_SERVER_FAULT = 500


def failure(name: str, sdk: Any, error: Exception, *, secret: str) -> EngineError:  # noqa: ANN401 - openai or anthropic
    """An `EngineError` with the server's own words, and without the key.

    Args:
        name: The engine's.
        sdk: The module whose errors these are; the SDKs name them alike.
        error: What was raised.
        secret: Never shown.
    """
    # It stays in the chain, and a traceback shows its words.
    error.args = tuple(_without(str(each), secret) for each in error.args)
    if isinstance(error, sdk.APIStatusError):
        status = error.status_code
        return EngineError(
            f"{name} answered {status}: {_without(str(error), secret)}",
            retryable=(status in _RETRYABLE or status >= _SERVER_FAULT) and not _out_of_funds(error),
            status=status,
            request_id=error.request_id,
            retry_after_s=_seconds(error.response.headers.get("retry-after")),
        )
    if isinstance(error, sdk.APITimeoutError):
        return EngineError(f"{name} did not answer in time", retryable=True)
    if isinstance(error, sdk.APIConnectionError):
        cause = error.__cause__ or error
        return EngineError(f"{name} could not be reached: {_without(str(cause) or str(error), secret)}", retryable=True)
    return unreadable(name, _without(f"{type(error).__name__}: {error}", secret))


def unreadable(name: str, what: str) -> EngineError:
    """The server answered with something that is no reply; another attempt may bring one."""
    return EngineError(f"{name} sent something that is no reply ({what})", retryable=True)


def check_model(name: str, *, asked: str, reported: str) -> None:
    """Raise a retryable error where another model answered: a gateway may have sent the call astray.

    The name of a version extends the one that was asked for, "NAME-latest" included.
    """
    if reported and not reported.casefold().startswith(asked.casefold().removesuffix("-latest")):
        raise EngineError(f"{name} was asked for the model {asked!r}, and {reported!r} answered", retryable=True)


def _without(text: str, secret: str) -> str:
    return text.replace(secret, "***") if secret else text


def _out_of_funds(error: Any) -> bool:  # noqa: ANN401 - either SDK's
    """OpenAI says 429 here too, and no pause helps."""
    return getattr(error, "code", None) == "insufficient_quota"


def _seconds(header: str | None) -> float | None:
    """Retry-After in either of its forms: seconds, or a date."""
    if header is None:
        return None
    try:
        return max(0.0, float(header))
    except ValueError:
        pass
    try:
        return max(0.0, parsedate_to_datetime(header).timestamp() - time.time())
    except ValueError:
        return None  # no form that we know; the usual pause will do
