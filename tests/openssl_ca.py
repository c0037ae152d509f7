"""An authority and a signer's certificate by OpenSSL, whose command stands for a KMS in the tests.

As docs/provenance.md has it: the certificate is made from the public key alone.
"""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path

SIGNER = "Example Studio"
_EXTENSIONS = """\
basicConstraints = critical,CA:FALSE
keyUsage = critical,digitalSignature
extendedKeyUsage = emailProtection
subjectKeyIdentifier = hash
authorityKeyIdentifier = keyid
"""
_CURVES = {"es256": "P-256", "es384": "P-384", "es512": "P-521"}


@dataclass(frozen=True)
class Signer:
    """Files of a signer.

    Args:
        command: signs what is on its stdin.
    """

    chain: Path
    key: Path
    root: Path
    command: tuple[str, ...]


def make_signer(folder: Path, algorithm: str = "es256") -> Signer:
    """A new authority in ``folder``, and who signs by it."""
    folder.mkdir(parents=True, exist_ok=True)
    made = Signer(
        folder / "chain.pem", folder / "leaf.key", folder / "ca.crt", _command(folder, algorithm)
    )
    (folder / "leaf.cnf").write_text(_EXTENSIONS)
    _key(folder / "root.key", "es256")
    _key(made.key, algorithm)
    _openssl("pkey", "-in", made.key, "-pubout", "-out", folder / "leaf.pub")
    _openssl(
        "req", "-x509", "-new", "-key", folder / "root.key", "-days", "30", "-out", made.root,
        "-subj", f"/O={SIGNER}/CN=Root", "-addext", "keyUsage=critical,keyCertSign",
    )  # fmt: skip
    _openssl(
        "x509", "-new", "-force_pubkey", folder / "leaf.pub", "-subj", f"/O={SIGNER}/CN=Signer",
        "-CA", made.root, "-CAkey", folder / "root.key", "-days", "30",
        "-extfile", folder / "leaf.cnf", "-out", folder / "leaf.crt",
    )  # fmt: skip
    made.chain.write_text((folder / "leaf.crt").read_text() + made.root.read_text())
    return made


def _key(path: Path, algorithm: str) -> None:
    if algorithm in _CURVES:
        kind = ["EC", "-pkeyopt", f"ec_paramgen_curve:{_CURVES[algorithm]}"]
    else:
        kind = ["RSA", "-pkeyopt", "rsa_keygen_bits:2048"] if algorithm[0] == "p" else ["ED25519"]
    _openssl("genpkey", "-algorithm", *kind, "-out", path)


def _command(folder: Path, algorithm: str) -> tuple[str, ...]:
    key = str(folder / "leaf.key")
    if algorithm == "ed25519":  # of a file alone
        file = folder / "bytes"
        script = 'cat > "$1"; exec openssl pkeyutl -sign -rawin -inkey "$0" -in "$1"'
        return ("sh", "-c", script, key, str(file))
    pss = ["-sigopt", "rsa_padding_mode:pss", "-sigopt", "rsa_pss_saltlen:digest"]
    options = pss if algorithm.startswith("ps") else []
    return ("openssl", "dgst", f"-sha{algorithm[2:]}", *options, "-sign", key)


def _openssl(*arguments: str | Path) -> None:
    subprocess.run(["openssl", *arguments], check=True, capture_output=True)
