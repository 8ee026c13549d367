"""The dashboard: what an executor does, live in a browser, drawn by a process of its own."""
