"""Why a SuperLink and a silo do not come together, in one line each."""

import ssl

import httpx

from fedsq_flwr.flower_http import ApiErrorCode, FlowerError

#: Answers of a server, or of a proxy before it, that is busy or starting: worth another try.
PASSING = (429, 502, 503, 504)


def refusal(address: str, error: Exception) -> str:
    """Say in one line what ``error`` means: it came of a request to the SuperLink at ``address``."""
    if isinstance(error, httpx.HTTPStatusError):
        return f"superlink={address}: {_of_status(error.response)}"
    if isinstance(error, ValueError):
        return f"superlink={address}: is no SuperLink, or one of another version: its answer cannot be read"
    tls = tls_error(error)
    if isinstance(tls, ssl.SSLCertVerificationError):
        return f"superlink={address}: its certificate is refused: {tls.verify_message}"
    if tls is not None:
        reason = (tls.reason or str(tls)).replace("_", " ").lower()
        return f"superlink={address}: does not speak TLS as it should ({reason}); is it plain HTTP?"
    if isinstance(error, httpx.RemoteProtocolError):
        return f"superlink={address}: does not answer over plain HTTP; leave insecure out if it speaks TLS"
    return f"superlink={address}: cannot be reached: {' '.join(str(error).split())}"


def tls_error(error: BaseException | None) -> ssl.SSLError | None:
    """Return the error of TLS that ``error`` came of, or None."""
    while error is not None:
        if isinstance(error, ssl.SSLError):
            return error
        error = error.__cause__ or error.__context__
    return None


def _of_status(response: httpx.Response) -> str:
    if response.status_code == httpx.codes.UNAUTHORIZED:
        return "refuses this silo: private_key is not the key that it knows, or the clocks differ"
    told = FlowerError.from_json(response.text)
    if told is not None and told.code == ApiErrorCode.FLEET_SUPERNODE_REGISTRATION_DISABLED:
        return "takes silos whose key is registered, and no others: private_key must be given"
    if response.status_code == httpx.codes.PRECONDITION_FAILED:
        return (
            "does not know this silo: private_key is not registered there "
            "(flwr supernode register KEY.pub), or is of a silo that is connected already, or was until a minute ago"
        )
    detail = told.message if told is not None else response.reason_phrase
    return f"answers {response.status_code}: {' '.join(str(detail).split())}"
