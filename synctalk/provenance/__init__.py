"""Provenance: every frame marked, every file signed, and a way to tell (METHOD row 16)."""

from synctalk.provenance.embedding import Marker
from synctalk.provenance.settings import (
    OFF,
    Provenance,
    provenance_from_environment,
)
from synctalk.provenance.signers import ManifestSigner
from synctalk.provenance.signing import Claim, sign_file
from synctalk.provenance.stamp import Stamp
from synctalk.provenance.verifying import Verification, find_mark, verify

__all__ = [
    "OFF",
    "Claim",
    "ManifestSigner",
    "Marker",
    "Provenance",
    "Stamp",
    "Verification",
    "find_mark",
    "provenance_from_environment",
    "sign_file",
    "verify",
]
