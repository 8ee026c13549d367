"""The machine: it decides what may run and what follows from what ended.

Nothing here knows threads, clocks, processes or user values, so Hypothesis can
drive it through any order of facts (see ``tests/core``).
"""
