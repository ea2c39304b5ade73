"""`python -m services.recommendations.evaluation`: two logs on standard input, measures on standard output, in JSON.

Each log is an object of columns of one length: `customers`, `items`, `seconds` (since 1970) and `amounts` (main units
of one currency); together they are `train` and `holdout`. It ends with 2 where they cannot be judged, and says why;
`rapport evaluate` is its face for people, which reads the files.
"""

import sys
from collections.abc import Mapping
from typing import Any

import numpy as np
import orjson

from services.recommendations.evaluation.judging import Log, LogsUnfitError, judged

_DAY = 86_400.0


def log_of(columns: Mapping[str, Any]) -> Log:
    """Return a log by its columns.

    Raises:
        LogsUnfitError: a column is missing or has another length than the others.
    """
    try:
        log = Log(
            customers=np.asarray(columns["customers"], dtype=np.str_),
            items=np.asarray(columns["items"], dtype=np.str_),
            days=np.asarray(columns["seconds"], dtype=np.float64) / _DAY,
            amounts=np.asarray(columns["amounts"], dtype=np.float64),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise LogsUnfitError("A log needs the columns customers, items, seconds and amounts.") from error
    if len({log.customers.size, log.items.size, log.days.size, log.amounts.size}) != 1:
        raise LogsUnfitError("The columns of a log differ in length.")
    return log


def main() -> None:
    """Read, judge, answer."""
    try:
        question = orjson.loads(sys.stdin.buffer.read())
        measures = judged(log_of(question["train"]), log_of(question["holdout"]))
    except (LogsUnfitError, KeyError, TypeError, orjson.JSONDecodeError) as error:
        sys.stderr.write(f"{error if isinstance(error, LogsUnfitError) else 'The question is not as documented.'}\n")
        sys.exit(2)
    sys.stdout.buffer.write(orjson.dumps(measures))


if __name__ == "__main__":
    main()
