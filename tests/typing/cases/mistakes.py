"""Lines that must be errors.  After ``# E:`` stand mypy's code and basedpyright's rule."""

from __future__ import annotations

from graphfutures import GraphExecutor, GraphFuture, allow_failure, quote, unpack, value


def double(x: int) -> int:
    return 2 * x


def join(words: list[str], separator: str = " ") -> str:
    return separator.join(words)


executor = GraphExecutor(2)
number = executor.submit(double, 1)
urgent = executor.options(priority=1)

# The result has the type that the function returns, whatever its arguments are.
text: str = executor.submit(double, 1).result()  # E: assignment | reportAssignmentType
wrong: GraphFuture[str] = executor.submit(double, number)  # E: arg-type | reportAssignmentType
words: str = urgent.submit(double, number).result()  # E: assignment | reportAssignmentType
doubled: list[str] = list(executor.map(double, [1]))  # E: arg-type | reportAssignmentType

# What is called must be callable.
executor.submit(double(1))  # E: call-overload | reportCallIssue, reportArgumentType
executor.submit()  # E: call-overload | reportCallIssue
executor.map(2, [1])  # E: arg-type | reportArgumentType
executor.strict.submit(double(1))  # E: arg-type | reportCallIssue, reportArgumentType

# Strictly typed, arguments are checked: their number, their names and their types.
executor.strict.submit(double, "1")  # E: arg-type | reportArgumentType
executor.strict.submit(double)  # E: call-arg | reportCallIssue
executor.strict.submit(double, 1, 2)  # E: call-arg | reportCallIssue
executor.strict.submit(double, y=1)  # E: call-arg | reportCallIssue
executor.strict.submit(double, number)  # E: arg-type | reportArgumentType
executor.strict.submit(join, value(number))  # E: arg-type | reportArgumentType
executor.strict.submit(join, [number])  # E: list-item | reportArgumentType
urgent.strict.submit(double, number)  # E: arg-type | reportArgumentType
executor.strict.options(priority=1).submit(double, "1")  # E: arg-type | reportArgumentType

# Markers and futures.
allow_failure(1)  # E: arg-type | reportArgumentType
value(1)  # E: arg-type | reportArgumentType
unpack([number], 2)  # E: arg-type | reportArgumentType
unpack(number, "2")  # E: arg-type | reportArgumentType
quote()  # E: call-arg | reportCallIssue
number.result("1")  # E: arg-type | reportArgumentType
number.cancel(True)  # E: call-arg | reportCallIssue

# The constructor.
GraphExecutor("2")  # E: arg-type | reportArgumentType
GraphExecutor(2, 3)  # E: arg-type | reportArgumentType
GraphExecutor(backend=3)  # E: arg-type | reportArgumentType
GraphExecutor(max_pending="2")  # E: arg-type | reportArgumentType
