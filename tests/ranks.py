"""Whether two samples are of one distribution: the Mann-Whitney U test, for times that must tell nothing."""

import itertools
import math
from collections.abc import Sequence


def mann_whitney_p(first: Sequence[float], second: Sequence[float]) -> float:
    """Two-sided p-value by the normal approximation, corrected for ties and continuity.

    H. B. Mann, D. R. Whitney: On a Test of Whether one of Two Random Variables is Stochastically Larger than
    the Other (1947); good from about 20 values each on.
    """
    pooled = sorted([(value, 0) for value in first] + [(value, 1) for value in second])
    rank_sum, ties, rank = 0.0, 0, 1
    for _, group in itertools.groupby(pooled, key=lambda pair: pair[0]):
        found = [sample for _, sample in group]
        rank_sum += found.count(0) * (rank + (len(found) - 1) / 2)
        ties += len(found) ** 3 - len(found)
        rank += len(found)
    n, m = len(first), len(second)
    larger = max(u := rank_sum - n * (n + 1) / 2, n * m - u)
    deviation = math.sqrt(n * m / 12 * (n + m + 1 - ties / ((n + m) * (n + m - 1))))
    if deviation == 0:  # all values are one
        return 1.0
    return min(1.0, math.erfc((larger - n * m / 2 - 0.5) / deviation / math.sqrt(2)))
