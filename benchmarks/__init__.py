"""What graphfutures costs, beside what people would use instead.

``python -m benchmarks`` prints one table, from the top of the repository. Both sides of a row run in the same
process, in turn, so that a busy machine slows both: read the ratios, not the digits.
"""
