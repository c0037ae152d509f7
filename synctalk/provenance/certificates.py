"""A development authority, for installations that have no certificate yet.

Made at first use: a root and a leaf that the root signed (C2PA refuses a leaf that signs itself).
Their subjects say that they prove nothing. Whoever delivers videos to others needs a certificate of
an authority that those others trust.

The keys are random, or follow from a secret: machines that share the secret then verify what the
others signed, without a file that goes from one to the other.
"""

from __future__ import annotations

import datetime
import hashlib
import hmac
import os
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

DEVELOPMENT = "DEVELOPMENT ONLY, proves nothing"
CHAIN, KEY, ROOT = "chain.pem", "key.pem", "root.pem"
_DAYS = 3650
_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551  # of P-256 (SEC 2)


@dataclass(frozen=True)
class CertificateFiles:
    """Where the certificates are.

    Args:
        chain: PEM, the leaf first.
        key: PEM, the leaf's private key.
        root: PEM, the authority that verifiers trust.
    """

    chain: Path
    key: Path
    root: Path


def development_certificates(folder: Path, secret: bytes | None = None) -> CertificateFiles:
    """Those in ``folder``, made and put there whole if there are none.

    Args:
        folder: theirs alone.
        secret: their keys follow from; None: keys are random.
    """
    files = CertificateFiles(folder / CHAIN, folder / KEY, folder / ROOT)
    if not files.chain.is_file():
        partial = folder.with_name(f".{folder.name}.{os.getpid()}.partial")
        partial.mkdir(parents=True, mode=0o700)
        _make(partial, _key(secret, b"root"), _key(secret, b"leaf"))
        try:
            partial.rename(folder)
        except OSError:
            _remove(partial)
            if not files.chain.is_file():  # else another process was first
                raise
    return files


def _remove(folder: Path) -> None:
    for path in folder.iterdir():
        path.unlink()
    folder.rmdir()


def _key(secret: bytes | None, whose: bytes) -> ec.EllipticCurvePrivateKey:
    if secret is None:
        return ec.generate_private_key(ec.SECP256R1())
    # 512 bits are so many more than the curve's 256 that the rest of the division favours no key.
    digest = hmac.digest(secret, b"development authority: " + whose, hashlib.sha512)
    return ec.derive_private_key(int.from_bytes(digest, "big") % (_ORDER - 1) + 1, ec.SECP256R1())


def _make(
    folder: Path, root_key: ec.EllipticCurvePrivateKey, leaf_key: ec.EllipticCurvePrivateKey
) -> None:
    root_name = _name("SyncTalk development authority")
    root = (
        _begin(root_name, root_name, root_key.public_key())
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(signs_certificates=True), critical=True)
        .sign(root_key, hashes.SHA256())
    )
    issuer = x509.AuthorityKeyIdentifier.from_issuer_public_key(root_key.public_key())
    leaf = (
        _begin(_name("SyncTalk development signer"), root_name, leaf_key.public_key())
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(signs_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.EMAIL_PROTECTION]), False)
        .add_extension(issuer, critical=False)
        .sign(root_key, hashes.SHA256())
    )
    root_pem, leaf_pem = (c.public_bytes(serialization.Encoding.PEM) for c in (root, leaf))
    (folder / ROOT).write_bytes(root_pem)
    (folder / CHAIN).write_bytes(leaf_pem + root_pem)
    key = folder / KEY
    key.touch(mode=0o600)
    key.write_bytes(
        leaf_key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )


def _name(what: str) -> x509.Name:
    return x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, DEVELOPMENT),
            x509.NameAttribute(NameOID.COMMON_NAME, what),
        ]
    )


def _begin(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey
) -> x509.CertificateBuilder:
    now = datetime.datetime.now(datetime.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=_DAYS))
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
    )


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        encipher_only=False,
        decipher_only=False,
    )
