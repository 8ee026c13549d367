"""For tests of code that uses graphfutures: backends that start and end attempts as the test, or a seed, decides."""

from graphfutures.testing.manual import ManualBackend
from graphfutures.testing.seeded import InjectedFailure, SeededBackend

__all__ = ["InjectedFailure", "ManualBackend", "SeededBackend"]
