"""Seconds and bytes, as one reads them."""

from __future__ import annotations


def in_time(seconds: float) -> str:
    """Three digits with the unit that fits: ``1.23 s``, ``450 µs``, ``2 h 5 min``."""
    if seconds < 0.9995e-3:
        return f"{_three(seconds * 1e6)} µs"
    if seconds < 0.9995:
        return f"{_three(seconds * 1e3)} ms"
    if seconds < 99.95:
        return f"{_three(seconds)} s"
    whole = round(seconds)
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    minutes = round(seconds / 60)
    return f"{minutes // 60} h {minutes % 60} min"


def in_bytes(size: int) -> str:
    """Three digits with the unit that fits: ``12 bytes``, ``3.46 MB``."""
    if size < 1000:
        return f"{size} byte{'' if size == 1 else 's'}"
    number = float(size)
    for unit in ("kB", "MB", "GB", "TB", "PB"):
        number /= 1000
        if number < 999.5 or unit == "PB":
            break
    return f"{_three(number)} {unit}"


def _three(number: float) -> str:
    return f"{number:.0f}" if number >= 99.95 else f"{number:.3g}"
