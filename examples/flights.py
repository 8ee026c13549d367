"""Questions about the 336,776 flights that left New York City in 2013, asked as one graph of futures.

    python examples/flights.py --backend threads --workers 2
    python examples/flights.py --backend processes
    python examples/flights.py --backend dask
    python examples/flights.py --with dask
    python examples/flights.py --dashboard --report flights.html

Each month is loaded once, whatever the number of questions. A question is answered for every month, and the
months' answers are combined two by two. Nobody waits in between: `submit` takes futures as arguments, also
inside lists and dicts, and starts the task as soon as their values are there.
"""

from __future__ import annotations

import argparse
import calendar
import csv
import gzip
import sys
import time
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import ExitStack
from datetime import date
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from graphfutures import GraphExecutor, GraphFuture, as_completed, performance_report

M = TypeVar("M")
T = TypeVar("T")
Answers = dict[str, Any]

DATA = Path(__file__).parent / "data"
WEEKDAYS = tuple(calendar.day_name)
UNITS = {"largest delay": " minutes"}
KNOWN: Answers = {
    "flights": 336_776,
    "not cancelled": 328_521,
    "largest delay": 1301,
    "not cancelled per origin": {"EWR": 117_596, "JFK": 109_416, "LGA": 101_509},
    "mean delay per origin": {"EWR": 15.107954, "JFK": 12.112159, "LGA": 10.346876},
    "mean delay per weekday": {
        "Monday": 14.778937,
        "Tuesday": 10.631683,
        "Wednesday": 11.803512,
        "Thursday": 16.148920,
        "Friday": 14.696057,
        "Saturday": 7.650502,
        "Sunday": 11.589532,
    },
    "worst weekday": "Thursday",
}


# What the tasks do. These are plain functions: futures are the executor's affair.


class Departure(NamedTuple):
    weekday: str
    origin: str
    delay: int
    """Minutes, negative when early."""


class Delays(NamedTuple):
    """A partial sum. Sums of months can be added up; means of months cannot."""

    flights: int = 0
    minutes: int = 0

    def plus(self, other: Delays) -> Delays:
        return Delays(self.flights + other.flights, self.minutes + other.minutes)


def load(path: Path) -> list[Departure | None]:
    """The month's flights, each as its departure, or None if it was cancelled."""
    with gzip.open(path, "rt", encoding="ascii", newline="") as lines:
        return [departure(row) for row in csv.DictReader(lines)]


def departure(row: dict[str, str]) -> Departure | None:
    if row["dep_time"] == "NA":
        return None
    day = date(int(row["year"]), int(row["month"]), int(row["day"]))
    return Departure(WEEKDAYS[day.weekday()], row["origin"], int(row["dep_delay"]))


def not_cancelled(flights: list[Departure | None]) -> list[Departure]:
    return [flight for flight in flights if flight is not None]


def largest_delay(departures: list[Departure]) -> int:
    return max(departure.delay for departure in departures)


def delays_by(field: str, departures: list[Departure]) -> dict[str, Delays]:
    groups: dict[str, Delays] = {}
    for departure in departures:
        group = getattr(departure, field)
        groups[group] = groups.get(group, Delays()).plus(Delays(1, departure.delay))
    return groups


def add(parts: list[dict[str, Delays]]) -> dict[str, Delays]:
    total: dict[str, Delays] = {}
    for part in parts:
        for group, delays in part.items():
            total[group] = total.get(group, Delays()).plus(delays)
    return total


def counts(groups: dict[str, Delays]) -> dict[str, int]:
    return {group: delays.flights for group, delays in groups.items()}


def means(groups: dict[str, Delays]) -> dict[str, float]:
    # Rounded as the known answers are.
    return {group: round(delays.minutes / delays.flights, 6) for group, delays in groups.items()}


def worst(means: dict[str, float]) -> str:
    return max(means, key=means.__getitem__)


def compare(answers: Answers, known: Answers) -> list[str]:
    return [
        f"{question}: {answer}, but the known answer is {known[question]}"
        for question, answer in answers.items()
        if answer != known[question]
    ]


# How they depend on each other.


def ask(executor: GraphExecutor) -> dict[str, GraphFuture[Any]]:
    """A future for the answer to each question. Returns at once: all the work is ahead."""

    def whole_year(
        question: Callable[[M], T], months: list[GraphFuture[M]], combine: Callable[[list[T]], T]
    ) -> GraphFuture[T]:
        """Ask every month, then combine as a tree: each pair as soon as both are done."""
        parts = [executor.submit(question, month) for month in months]
        while len(parts) > 1:
            parts = [executor.submit(combine, parts[i : i + 2]) for i in range(0, len(parts), 2)]
        return parts[0]

    flights = [
        executor.options(name=f"load-{month}").submit(load, DATA / f"2013-{month:02}.csv.gz") for month in range(1, 13)
    ]
    departures = [executor.submit(not_cancelled, month) for month in flights]
    by_origin = whole_year(partial(delays_by, "origin"), departures, add)
    by_weekday = whole_year(partial(delays_by, "weekday"), departures, add)
    weekday_means = executor.submit(means, by_weekday)
    return {
        "flights": whole_year(len, flights, sum),
        "not cancelled": whole_year(len, departures, sum),
        "largest delay": whole_year(largest_delay, departures, max),
        "not cancelled per origin": executor.submit(counts, by_origin),
        "mean delay per origin": executor.submit(means, by_origin),
        "mean delay per weekday": weekday_means,
        "worst weekday": executor.submit(worst, weekday_means),
    }


def ask_dask(executor: GraphExecutor) -> Answers:
    """The same questions to one dask DataFrame of twelve partitions, computed on the executor in one go."""
    from importlib import import_module  # dask has no types

    dask, dd = import_module("dask"), import_module("dask.dataframe")
    months = [str(DATA / f"2013-{month:02}.csv.gz") for month in range(1, 13)]
    missing = {"dep_time": float, "dep_delay": float}  # of cancelled flights
    frame = dd.read_csv(months, blocksize=None, compression="gzip", dtype=missing)
    departures = frame[frame.dep_time.notnull()]
    days = dd.to_datetime(departures[["year", "month", "day"]])
    by_origin = departures.groupby("origin").dep_delay
    by_weekday = departures.assign(weekday=days.dt.day_name()).groupby("weekday").dep_delay
    lazy: Answers = {
        "flights": frame.origin.count(),
        "not cancelled": departures.origin.count(),
        "largest delay": departures.dep_delay.max(),
        "not cancelled per origin": by_origin.count(),
        "mean delay per origin": by_origin.mean(),
        "mean delay per weekday": by_weekday.mean(),
    }
    (found,) = dask.compute(lazy, scheduler=executor)
    answers: Answers = {
        question: {group: round(value, 6) for group, value in answer.items()}
        if hasattr(answer, "items")
        else int(answer)
        for question, answer in found.items()
    }
    return {**answers, "worst weekday": worst(answers["mean delay per weekday"])}


def main() -> int:
    parser = argparse.ArgumentParser(description="Ask the flights of 2013 a few questions.")
    parser.add_argument(
        "--backend",
        default="threads",
        help="what runs the tasks: threads, processes, inline, dask, ray, or the address of a cluster "
        "(default: %(default)s)",
    )
    parser.add_argument("--workers", type=int, help="how many tasks run at once (default: the backend's own)")
    parser.add_argument(
        "--with", choices=["dask"], dest="by", help="ask a dask DataFrame, computed by the same backend"
    )
    parser.add_argument("--dashboard", action="store_true", help="show it live in a browser: the link is printed")
    parser.add_argument("--report", metavar="FILE", help="write where the time went, as HTML")
    flags = parser.parse_args()
    with ExitStack() as around:
        if flags.report:
            try:
                around.enter_context(performance_report(flags.report))
            except (ImportError, OSError) as error:  # OSError: no such folder
                parser.error(str(error))
        return answer(parser, flags)


def answer(parser: argparse.ArgumentParser, flags: argparse.Namespace) -> int:
    try:
        executor = GraphExecutor(flags.workers, backend=flags.backend, dashboard=flags.dashboard)
    except (ValueError, ImportError, OSError) as error:  # OSError: no cluster answers
        parser.error(str(error))

    start = time.perf_counter()
    if flags.by == "dask":
        with executor:
            try:
                found = ask_dask(executor)
            except ImportError as error:
                parser.error(f'{error}: pip install "dask[dataframe]"')
        for question, answer in found.items():
            print(f"{question:26}{show(answer)}{UNITS.get(question, '')}")
        return judge(compare(found, KNOWN), len(found))
    with executor:
        answers = ask(executor)
        wrong = executor.submit(compare, answers, KNOWN)
        questions: dict[Future[Any], str] = {future: question for question, future in answers.items()}
        for future in as_completed(questions):
            seconds = time.perf_counter() - start
            question = questions[future]
            shown = show(future.result()) + UNITS.get(question, "")
            print(f"{seconds:5.2f} s  {question:26}{shown}", flush=True)

    return judge(wrong.result(), len(answers))


def judge(wrong: list[str], asked: int) -> int:
    if wrong:
        print("WRONG:", *wrong, sep="\n  ")
        return 1
    print(f"All {asked} answers agree with the known ones.")
    return 0


def show(answer: Any) -> str:
    match answer:
        case dict():
            groups = [day for day in WEEKDAYS if day in answer] or answer
            return ", ".join(f"{group} {show(answer[group])}" for group in groups)
        case int():
            return f"{answer:,}"
        case float():
            return f"{answer:.2f}"
    return str(answer)


if __name__ == "__main__":
    sys.exit(main())
