"""What the audit log says of a message that arrived, and of a reply that is about to leave."""

import hashlib
from typing import Any

from flwr.app import ArrayRecord, ConfigRecord, Message, MetricRecord, RecordDict

from fedsq_flwr.federation.contents import array_records, config_records
from fedsq_flwr.federation.protocol import (
    ARRAYS,
    CONFIG,
    FINGERPRINT,
    MODEL,
    MODEL_ROUND,
    MODEL_RUN,
    ROUND,
    SETTINGS,
    SHA256,
    STRUCTURE,
    count_bytes,
)

_LONGEST, _LONGEST_KIND = 1_000, 64  # characters of a reason, and of a kind of message


def asked(message: Message) -> dict[str, Any]:
    """Return run, kind, round, and the hashes of settings, model and structure of a message of the server's."""
    found = {"run": message.metadata.run_id, "kind": message.metadata.message_type[:_LONGEST_KIND]}
    try:
        return found | _content_of(message)
    except Exception as error:  # noqa: BLE001 - whatever a message holds, it has its line, and ends no silo
        return found | {"unreadable": type(error).__name__}


def _content_of(message: Message) -> dict[str, Any]:
    content = message.content if message.has_content() else RecordDict()
    config = config_records(content).get(CONFIG, ConfigRecord())
    number, fingerprint = config.get(ROUND, config.get(MODEL_ROUND)), config.get(FINGERPRINT)
    of_run, weights = config.get(MODEL_RUN), config.get(SHA256)
    found: dict[str, Any] = {
        "round": number if isinstance(number, int) else None,
        "bytes_in": count_bytes([message]),
        "settings": hashlib.sha256(str(config[SETTINGS]).encode()).hexdigest() if SETTINGS in config else None,
        "fingerprint": fingerprint[:64] if isinstance(fingerprint, str) else None,
    }
    # A model for the silo's own use, and which run's it is.
    found |= {"of_run": of_run[:20] if isinstance(of_run, str) else None}
    found |= {"weights": weights[:64] if isinstance(weights, str) else None}
    for what, name in (("model", ARRAYS), ("model", MODEL), ("structure", STRUCTURE)):
        if (record := array_records(content).get(name)) is not None:
            found[what] = _hash_of({name: record})
    return {name: value for name, value in found.items() if value is not None}


def replied(reply: Message, kind: str) -> tuple[str, dict[str, Any]]:
    """Return the event, ``answered`` or ``refused``, and the bytes and the hash of what is about to leave."""
    told: dict[str, Any] = {"run": reply.metadata.run_id, "kind": kind[:_LONGEST_KIND]}
    if reply.has_error():
        reason = str(reply.error.reason).encode("utf-8", "backslashreplace")
        told |= {"reason": reason.decode()[:_LONGEST], "bytes_out": len(reason)}
        return "refused", told | {"sha256": hashlib.sha256(reason).hexdigest()}
    return "answered", told | {"bytes_out": count_bytes([reply]), "sha256": _hash_of(reply.content)}


def _hash_of(records: RecordDict | dict[str, ArrayRecord]) -> str:
    """Return the sha256 over the names and values of records, each preceded by its length."""
    found = hashlib.sha256()
    for name, record in sorted(records.items()):
        for key, value in sorted(record.items()):
            for part in (name.encode(), key.encode(), *_parts(record, value)):
                found.update(len(part).to_bytes(8, "big"))
                found.update(part)
    return found.hexdigest()


def _parts(record: ArrayRecord | ConfigRecord | MetricRecord, value: Any) -> tuple[bytes, ...]:
    if isinstance(record, ArrayRecord):
        return f"{value.dtype} {tuple(value.shape)} {value.stype}".encode(), bytes(value.data)
    return (repr(value).encode(),)
