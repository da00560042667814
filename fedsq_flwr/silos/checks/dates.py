"""Whether a certificate is valid today, and for how long."""

from datetime import UTC, datetime

from fedsq_flwr.silos.certificates import Certificate
from fedsq_flwr.silos.checks.finding import Finding, fail, ok, warn

#: A certificate that ends within so many days is warned of.
DAYS_LEFT = 30


def of_dates(check: str, certificate: Certificate, advice: str) -> Finding:
    """Say until when a certificate is valid; ``advice`` is what to do where it is over, or soon will be."""
    now = datetime.now(UTC)
    told = f"{certificate.subject}, valid until {certificate.not_after:%Y-%m-%d}"
    if now < certificate.not_before:
        return fail(
            check, f"{certificate.subject}, valid from {certificate.not_before:%Y-%m-%d %H:%M} UTC", ask_for_clock()
        )
    if now > certificate.not_after:
        return fail(check, f"{told}: is over", advice)
    left = (certificate.not_after - now).days
    if left < DAYS_LEFT:
        return warn(check, f"{told}: {left} days are left", advice)
    return ok(check, told)


def ask_for_clock() -> str:
    """Ask for a look at this machine's clock: by one that is behind, a right certificate is not valid yet."""
    return f"is this machine's clock right? It says {datetime.now(UTC):%Y-%m-%d %H:%M} UTC"
