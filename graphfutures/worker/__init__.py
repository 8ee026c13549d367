"""WORKER: what runs inside a worker process, and what its tasks see of their executor."""
