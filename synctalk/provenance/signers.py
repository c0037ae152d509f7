"""Who signs: a key in a file, or a command that has a KMS or HSM sign.

Every signature is checked with the certificate before it is used: a key that was rotated away from
its certificate is noticed at the first file, not by who verifies it.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa, utils
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from synctalk.errors import BackendError, InputError, SyncTalkError

SignCallback = Callable[[bytes], bytes]
Algorithm = Literal["es256", "es384", "es512", "ps256", "ps384", "ps512", "ed25519"]
ALGORITHMS: tuple[Algorithm, ...] = get_args(Algorithm)
_HASHES = {"256": hashes.SHA256(), "384": hashes.SHA384(), "512": hashes.SHA512()}
_CURVES = {"es256": "secp256r1", "es384": "secp384r1", "es512": "secp521r1"}
# Our settings, secrets among them, and what the chart makes one of: no business of the command's.
_OURS = ("AVATAR_", "REDIS_PASSWORD")
_SAID = 300


@dataclass(frozen=True)
class ManifestSigner:
    """Who signs.

    Args:
        chain_pem: certificates, the signer's first.
        sign: gives the raw signature of bytes, which it hashes itself. ECDSA: r and s, each as long
            as the curve's order, or both in DER. RSA-PSS: MGF1 with the same hash, salt as long.
        algorithm: of COSE, as C2PA names them; must fit the key of the certificate.
    """

    chain_pem: str
    sign: SignCallback
    algorithm: Algorithm = "es256"

    def signature(self, data: bytes) -> bytes:
        """Of ``data``, in the form that C2PA wants (ECDSA: r and s), verified.

        Raises:
            BackendError: the signer fails, or what it gives is not by the certificate's key. It may
                be away for a while: the same call may succeed later.
            InputError: the chain holds no certificate.
        """
        certificate = _certificate(self.chain_pem)
        try:
            signature = self.sign(data)
        except SyncTalkError:
            raise
        except Exception as error:
            raise BackendError(
                f"the signer failed ({error}).",
                reason="SIGNER_FAILED",
                remedy="Try again; what signs knows more.",
            ) from error
        try:
            return _verified(certificate.public_key(), self.algorithm, signature, data)
        except InvalidSignature:
            raise _mismatch(
                "the signature is not by the key of the certificate of "
                f"{certificate.subject.rfc4514_string()}."
            ) from None

    def check(self) -> None:
        """Have a random number signed. Raises what :meth:`signature` raises."""
        self.signature(b"is this the key of the certificate? " + os.urandom(32))


def file_signer(chain: Path, key: Path) -> ManifestSigner:
    """Signs with the key of a PEM file.

    Raises:
        InputError: a file is missing, or the key is no P-256 key.
    """
    chain_pem = _read_chain(chain)
    try:
        private = load_pem_private_key(key.read_bytes(), None)
    except (OSError, ValueError, TypeError) as error:
        raise InputError(
            f"{key}: no private key can be read ({error}).",
            reason="SIGNING_KEY",
            remedy="Give an unencrypted PEM key.",
        ) from error
    if not isinstance(private, ec.EllipticCurvePrivateKey) or private.curve.name != "secp256r1":
        raise InputError(
            f"{key}: not an ECDSA P-256 key.",
            reason="SIGNING_KEY",
            remedy="Use a certificate for an ECDSA P-256 key (ES256).",
        )
    return ManifestSigner(chain_pem, lambda data: private.sign(data, ec.ECDSA(hashes.SHA256())))


def command_signer(
    chain: Path, command: Sequence[str], algorithm: Algorithm, timeout_s: float
) -> ManifestSigner:
    """Signs by a program: the bytes to sign on its stdin, the raw signature on its stdout.

    Args:
        command: the program and its arguments; no shell sees them. It gets this environment without
            the variables of our settings.
        timeout_s: it is killed after so long.

    Raises:
        InputError: the chain cannot be read.
    """
    name = command[0]

    def sign(data: bytes) -> bytes:
        environment = {k: v for k, v in os.environ.items() if not k.startswith(_OURS)}
        try:
            done = subprocess.run(
                command, input=data, capture_output=True, timeout=timeout_s, env=environment,
                check=False,
            )  # fmt: skip
        except OSError as error:
            raise BackendError(
                f"{name}: the signing command cannot be started ({error.strerror}).",
                reason="SIGNER_MISSING",
                remedy="Name a program that is on this machine and may be executed.",
            ) from None
        except subprocess.TimeoutExpired:  # whose words hold the arguments
            raise BackendError(
                f"{name}: no signature after {timeout_s:g} s.",
                reason="SIGNER_TIMEOUT",
                remedy="See whether the KMS can be reached from here, or give it more time.",
            ) from None
        if done.returncode:
            raise BackendError(
                f"{name}: ended with status {done.returncode}: {_said(done.stderr)}",
                reason="SIGNER_FAILED",
                remedy="Try again; if it stays so, run the command by hand.",
            )
        return done.stdout

    return ManifestSigner(_read_chain(chain), sign, algorithm)


def _said(stderr: bytes) -> str:
    """The end of what a command said, on one line."""
    said = " ".join(stderr.decode(errors="replace").split())
    return f"…{said[-_SAID:]}" if len(said) > _SAID else said or "it said nothing."


def _read_chain(chain: Path) -> str:
    try:
        chain_pem = chain.read_text()
    except (OSError, ValueError) as error:
        raise _no_chain(f"{chain}: cannot be read ({error}).") from error
    _certificate(chain_pem)
    return chain_pem


def _certificate(chain_pem: str) -> x509.Certificate:
    """The signer's."""
    try:
        return x509.load_pem_x509_certificates(chain_pem.encode())[0]
    except ValueError as error:
        raise _no_chain(f"the certificate chain cannot be read ({error}).") from error


def _no_chain(what: str) -> InputError:
    return InputError(
        what, reason="SIGNING_KEY", remedy="Give a PEM chain, the signer's certificate first."
    )


def _verified(key: object, algorithm: Algorithm, signature: bytes, data: bytes) -> bytes:
    """Raises :class:`InvalidSignature`, or :class:`BackendError` for what is no signature."""
    if isinstance(key, ec.EllipticCurvePublicKey) and key.curve.name == _CURVES.get(algorithm):
        return _verified_ecdsa(key, _HASHES[algorithm[2:]], signature, data)
    if isinstance(key, rsa.RSAPublicKey) and algorithm.startswith("ps"):
        digest = _HASHES[algorithm[2:]]
        _check_length(signature, key.key_size // 8)
        pss = padding.PSS(padding.MGF1(digest), digest.digest_size)
        key.verify(signature, data, pss, digest)
        return signature
    if isinstance(key, ed25519.Ed25519PublicKey) and algorithm == "ed25519":
        _check_length(signature, 64)
        key.verify(signature, data)
        return signature
    raise _mismatch(f"the key of the certificate is not one for {algorithm}.")


def _verified_ecdsa(
    key: ec.EllipticCurvePublicKey, digest: hashes.HashAlgorithm, signature: bytes, data: bytes
) -> bytes:
    """What is as long as r and s is taken for them: DER is longer but once in 2**50 times."""
    side = (key.key_size + 7) // 8
    if len(signature) == 2 * side:
        r, s = (int.from_bytes(half, "big") for half in (signature[:side], signature[side:]))
    else:
        try:
            r, s = utils.decode_dss_signature(signature)
        except ValueError:
            raise _no_signature(signature, f"{2 * side} (r and s) or DER") from None
    key.verify(utils.encode_dss_signature(r, s), data, ec.ECDSA(digest))
    return r.to_bytes(side, "big") + s.to_bytes(side, "big")


def _check_length(signature: bytes, wanted: int) -> None:
    if len(signature) != wanted:
        raise _no_signature(signature, str(wanted))


def _no_signature(given: bytes, wanted: str) -> BackendError:
    return BackendError(
        f"the signer gave {len(given)} bytes, which are no signature: {wanted} are one.",
        reason="SIGNER_OUTPUT",
        remedy="It has to write the raw signature and nothing else: no base64, no line break.",
    )


def _mismatch(what: str) -> BackendError:
    return BackendError(
        what,
        reason="SIGNER_MISMATCH",
        remedy="Name the certificate of the key that signs, first in its chain, and its algorithm.",
    )
