"""Whether the server would take this silo."""

import shlex

from fedsq_flwr.errors import RunFailedError
from fedsq_flwr.settings.silo import SiloSettings
from fedsq_flwr.silos.checks.finding import Finding, fail, ok
from fedsq_flwr.silos.link import KeyPair, Link

_NAME = "admission"
_PATIENCE = 5.0  # seconds


def check_admission(silo: SiloSettings, keys: KeyPair | None) -> Finding:
    """Ask whether the server knows the silo's key; without one, connect and leave, since there is no other way.

    A silo that is connected with the same key, now, does not notice, and no run takes this for a silo.
    """
    link = Link(
        silo.superlink,
        keys=keys,
        insecure=silo.insecure,
        root_certificates=silo.root_certificates,
        patience=_PATIENCE,
    )
    try:
        if keys is None:
            with link:
                return ok(_NAME, "the server takes silos without keys")
        known = link.is_known()
    except RunFailedError as error:
        return fail(_NAME, error)
    if not known:
        register = f"flwr supernode register {shlex.quote(f'{silo.private_key}.pub')} federation"
        return fail(_NAME, "the server does not know this silo's key", "its operator registers it:", register)
    return ok(_NAME, "the server knows this silo's key")
