"""The server as it shows itself before it knows the silo: that it answers, its certificate, its clock.

It is asked for its front page, over the same HTTP client as Flower's, so that proxies count as they do for a
silo. Any answer does.
"""

import shlex
import ssl
import time
from dataclasses import dataclass
from email.utils import parsedate_to_datetime

import httpx
from cryptography import x509

from fedsq_flwr.settings.silo import SiloSettings
from fedsq_flwr.silos.certificates import Certificate, describe
from fedsq_flwr.silos.checks.dates import ask_for_clock, of_dates
from fedsq_flwr.silos.checks.finding import Finding, Mark, fail, ok, warn
from fedsq_flwr.silos.link import MOST_AHEAD, MOST_BEHIND
from fedsq_flwr.silos.refusals import refusal, tls_error

_SERVER, _CLOCK = "server", "clock"
_PATIENCE = 10.0  # seconds
# As OpenSSL numbers them (X509_V_ERR_...).
_NOT_YET_VALID, _EXPIRED, _OTHER_NAME, _OTHER_ADDRESS = 9, 10, 62, 64
_RENEW = "its operator makes a new one: fedsq certs DIR --renew"
_SET_CLOCK = "set it right (NTP), or have the server's set right"
_BY_NTP = "sudo timedatectl set-ntp true"
# Flower's server stamps its answers with the time of its last full second or the one before.
_STAMP_AGE = 1.0


@dataclass(frozen=True)
class Contact:
    """What an answer of the server shows.

    Attributes
    ----------
    certificate : Certificate or None
        The server's; None without TLS.
    clock_ahead : float or None
        Seconds that this machine's clock is ahead of the server's, give or take one; None if it does not say.
    """

    certificate: Certificate | None
    clock_ahead: float | None


def check_server(silo: SiloSettings) -> tuple[Finding, Contact | None]:
    """Ask the server for its front page, and look at its certificate.

    What a server shows that is not trusted is returned with the failure: its clock can still be compared.
    """
    try:
        contact = _visit(silo, _trusting(silo.root_certificates))
    except httpx.TransportError as error:
        return _of_error(silo, error)
    if contact.certificate is None:
        found = f"{silo.superlink} answers over plain HTTP: nothing is encrypted, and anybody can pose as it"
        return warn(_SERVER, found, "use insecure=true for trials on one machine only"), contact
    return of_dates(_SERVER, contact.certificate, _RENEW), contact


def check_clock(contact: Contact) -> Finding:
    """Compare this machine's clock with the server's, which refuses requests of another time."""
    ahead = contact.clock_ahead
    if ahead is None:
        return warn(
            _CLOCK,
            "could not be compared: the server's answer has no date",
            "see that both keep time (NTP)",
            "timedatectl",
        )
    told = f"{abs(ahead):.0f} s {'ahead of' if ahead > 0 else 'behind'} the server's"
    allowed = f"allowed are {MOST_AHEAD} s ahead and {MOST_BEHIND} s behind"
    share = ahead / MOST_AHEAD if ahead > 0 else -ahead / MOST_BEHIND
    if share > 1:
        return fail(_CLOCK, f"{told}; {allowed}", _SET_CLOCK, _BY_NTP)
    if share > 0.5:
        return warn(_CLOCK, f"{told}; {allowed}", _SET_CLOCK, _BY_NTP)
    return ok(_CLOCK, "as the server's" if abs(ahead) < 2 else told)


def _visit(silo: SiloSettings, trusting: ssl.SSLContext) -> Contact:
    with httpx.Client(verify=trusting, timeout=_PATIENCE) as client, client.stream("GET", _url(silo)) as response:
        stamped, now = response.headers.get("date"), time.time()
        tls = response.extensions["network_stream"].get_extra_info("ssl_object")
        shown = None if tls is None else x509.load_der_x509_certificate(tls.getpeercert(True))
    try:
        ahead = None if stamped is None else now - parsedate_to_datetime(stamped).timestamp() - _STAMP_AGE
    except ValueError:
        ahead = None
    return Contact(None if shown is None else describe(shown), ahead)


def _trusting(root_certificates: str | None) -> ssl.SSLContext:
    """Trust as Flower's client does."""
    if root_certificates is None:
        return httpx.create_ssl_context()
    return ssl.create_default_context(cafile=root_certificates)


def _of_error(silo: SiloSettings, error: Exception) -> tuple[Finding, Contact | None]:
    told = refusal(silo.superlink, error)
    refused = tls_error(error)
    if not isinstance(refused, ssl.SSLCertVerificationError):
        silent = refused is None and isinstance(error, httpx.ConnectError | httpx.TimeoutException)
        advice = "does it run, and does no firewall stand between?" if silent else ""
        return fail(_SERVER, told, advice, _look(silo)), None
    contact = _visit_unverified(silo)
    shown = None if contact is None else contact.certificate
    if shown is None:
        return fail(_SERVER, told, "", _look(silo)), contact
    told += f"\n{shown.subject} for {', '.join(shown.hosts) or 'no host'}, signed by {shown.issuer}"
    told += f", valid from {shown.not_before:%Y-%m-%d} until {shown.not_after:%Y-%m-%d}"
    reasons = {
        _NOT_YET_VALID: ask_for_clock(),
        _EXPIRED: _RENEW,
        _OTHER_NAME: "superlink must name the server as its certificate does",
        _OTHER_ADDRESS: "superlink must name the server as its certificate does",
    }
    foreign = "root_certificates must be the ca.crt of this server's authority, which its operator has"
    return fail(_SERVER, told, reasons.get(refused.verify_code, foreign), _look(silo)), contact


def _look(silo: SiloSettings) -> str:
    """Return the command that shows how the server answers."""
    trusting = "" if silo.root_certificates is None else f"--cacert {shlex.quote(silo.root_certificates)} "
    return f"curl -v {trusting}{shlex.quote(_url(silo))}"


def _url(silo: SiloSettings) -> str:
    return f"{'http' if silo.insecure else 'https'}://{silo.superlink}/"


def check_unverified(silo: SiloSettings) -> tuple[Finding, Contact | None]:
    """See whether the server answers, where there is nothing to verify it by."""
    contact = _visit_unverified(silo)
    told = "does not answer" if contact is None else "answers"
    return Finding(_SERVER, Mark.SKIP, f"{silo.superlink} {told}; not verified: needs authority"), contact


def _visit_unverified(silo: SiloSettings) -> Contact | None:
    """Visit a server that is not trusted, to name its certificate; nothing is sent but the request for a page."""
    anybody = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    anybody.check_hostname, anybody.verify_mode = False, ssl.CERT_NONE
    try:
        return _visit(silo, anybody)
    except (httpx.TransportError, ValueError):  # ValueError: it is no certificate that can be read
        return None
