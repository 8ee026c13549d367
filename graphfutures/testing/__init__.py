"""For tests of code that uses graphfutures: a backend whose every attempt the test starts and ends."""

from graphfutures.testing.manual import ManualBackend

__all__ = ["ManualBackend"]
