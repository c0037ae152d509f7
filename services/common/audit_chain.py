"""The chain of an audit log, for who writes it and for who checks it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from typing import Any

from services.common.errors import CorruptData

GENESIS = "0" * 64


def digest_of_entry(entry: Mapping[str, Any]) -> str:
    """SHA-256 of the canonical JSON of an entry without its digest."""
    facts = {name: value for name, value in entry.items() if name != "digest"}
    text = json.dumps(facts, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()


def verify_chain(
    entries: Iterable[Mapping[str, Any]], number: int = 0, digest: str = GENESIS
) -> str:
    """The digest of the last of ``entries``, which follow the entry ``number``, oldest first.

    Raises:
        CorruptData: naming the first entry that is not what was written.
    """
    for entry in entries:
        number += 1
        if entry["number"] != number or entry["previous"] != digest:
            raise _broken(number, "is missing or out of place")
        digest = digest_of_entry(entry)
        if entry["digest"] != digest:
            raise _broken(number, "was changed")
    return digest


def _broken(number: int, what: str) -> CorruptData:
    return CorruptData(
        f"entry {number} of the audit log {what}",
        reason="AUDIT_BROKEN",
        remedy="Compare with a backup of the database; nothing after this entry can be relied on.",
    )
