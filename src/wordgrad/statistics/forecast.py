"""One number for what may come out in many ways."""

from __future__ import annotations

import bisect
import statistics
from collections.abc import Sequence


def near_most(values: Sequence[float], *, within: float) -> float:
    """The number that as many of the values as can be are near; of all such numbers the nearest to their median.

    Where values lie in two crowds, as the costs of runs that learn all early and of runs that do not, the median lies
    in one of them, and a number between may be near both.

    Args:
        values: One or more, none below 0. Where none is a number, the result is none either. Of an even count the
            median is the lower one of the two in the middle; of two numbers as near to it the larger is taken.
        within: How far off the number may be, as a share of a value, from 0 to less than 1.
    """
    ordered, median = sorted(values), statistics.median_low(values)

    def nearest(first: int) -> tuple[int, float, float]:
        low = ordered[first]
        end = bisect.bisect_right(ordered, low * (1 + within) / (1 - within))
        number = min(max(median, ordered[end - 1] * (1 - within)), low * (1 + within))
        return end - first, -abs(number - median), number

    return max(map(nearest, range(len(ordered))))[-1]
