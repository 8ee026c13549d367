"""``python -m graphfutures.diagnostics.dashboard``, as an executor with ``dashboard=True`` starts it."""

from graphfutures.diagnostics.dashboard.server import main

main()
