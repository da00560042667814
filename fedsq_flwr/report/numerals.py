"""How numbers are written, on the page and in the terminal alike."""

import math

NOTHING = "-"  # was not measured
FARTHEST = 1e30  # a number beyond it is left out of means and figures


def within_reach(value: float | None) -> float | None:
    """Return a number that can be drawn and averaged, and None for any other."""
    return value if value is not None and abs(value) < FARTHEST else None


def accuracy(value: float | None) -> str:
    """Write a fraction with three decimals."""
    return NOTHING if value is None else f"{value:.3f}"


def decimal(value: float | None, decimals: int) -> str:
    """Write a number with ``decimals`` decimals and separated thousands."""
    return NOTHING if value is None else f"{value:,.{decimals}f}"


def signed(value: float, decimals: int) -> str:
    """Write a difference with its sign, a true minus among them; one that rounds to nothing has none."""
    text = f"{value:+,.{decimals}f}"
    return f"{0:.{decimals}f}" if not float(text.replace(",", "")) else text.replace("-", "\u2212")


def percent(value: float | None) -> str:
    """Write a fraction as per cent with one decimal."""
    return NOTHING if value is None else f"{100 * value:.1f} %"


def loss(value: float | None) -> str:
    """Write three decimals, or powers of ten where a loss ran away."""
    if value is None:
        return NOTHING
    return f"{value:.3f}" if abs(value) < 1000 or not math.isfinite(value) else f"{value:.1e}"


def traffic(size: int | None) -> str:
    """Write bytes as millions, from ten thousand millions on as thousand millions; three digits or more."""
    if size is None:
        return NOTHING
    number, unit = (size / 1e6, "MB") if size < 1e10 else (size / 1e9, "GB")
    decimals = 0 if number >= 100 else 1 if number >= 10 else 2
    return f"{number:,.{decimals}f} {unit}"


def duration(seconds: float | None) -> str:
    """Write seconds up to two minutes, then minutes, then hours."""
    if seconds is None or not math.isfinite(seconds):
        return NOTHING
    if seconds < 120:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    if minutes < 120:
        return f"{minutes} min"
    return f"{minutes // 60} h {minutes % 60:02d} min"


def clock(seconds: float) -> str:
    """Write minutes and seconds as a clock shows them, with hours where there are any."""
    if not math.isfinite(seconds):
        return NOTHING
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def count(number: int, noun: str) -> str:
    """Write the number and its noun: 1 silo, 2 silos."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {_plural(noun)}"


def _plural(noun: str) -> str:
    if noun.endswith("y"):
        return f"{noun[:-1]}ies"
    return f"{noun}es" if noun.endswith("s") else f"{noun}s"
