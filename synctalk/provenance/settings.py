"""What an installation does so that its videos can be told from filmed ones.

All of it is on unless somebody turns it off, which is logged. Without a key and certificates of its
own an installation works with a development key, which everybody knows, and a development authority
made on the spot; both say so wherever they show. The authority of an installation with a key
follows from that key: all its machines are one signer.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from synctalk.errors import InputError
from synctalk.provenance.certificates import ROOT, CertificateFiles, development_certificates
from synctalk.provenance.coding import MAX_ID
from synctalk.provenance.signers import (
    ALGORITHMS,
    Algorithm,
    ManifestSigner,
    command_signer,
    file_signer,
)

DEVELOPMENT_KEY = b"SyncTalk development key: everybody knows it"
PREFIX = "AVATAR_PROVENANCE__"
_END = "-----END CERTIFICATE-----"
_WORDS = {"true": True, "on": True, "1": True, "false": False, "off": False, "0": False}
log = logging.getLogger("synctalk.provenance")


def default_folder() -> Path:
    """Where the development authority lies."""
    return Path(os.environ.get("AVATAR_HOME") or Path.home() / ".avatar") / "provenance"


@dataclass(frozen=True)
class Provenance:
    """What videos get.

    Args:
        key: the secret of the watermark; who has it can forge and remove marks.
        watermark: whether frames are marked.
        sign: whether files are signed.
        label: whether frames say visibly that they are made by AI.
        chain, private_key: PEM files of the signer; None: the development authority's.
        sign_command: program and arguments that sign in place of ``private_key``.
        sign_algorithm: of the signatures of ``sign_command``.
        sign_timeout_s: it is killed after so long.
        trusted: PEM file of the authorities whose signatures count; None: the signer's own.
        folder: of the development authority.
    """

    key: bytes = field(default=DEVELOPMENT_KEY, repr=False)
    watermark: bool = True
    sign: bool = True
    label: bool = False
    chain: Path | None = None
    private_key: Path | None = None
    sign_command: tuple[str, ...] = field(default=(), repr=False)
    sign_algorithm: Algorithm = "es256"
    sign_timeout_s: float = 15.0
    trusted: Path | None = None
    folder: Path = field(default_factory=default_folder)

    def __post_init__(self) -> None:
        keys = (self.private_key is not None) + bool(self.sign_command)
        if keys != (self.chain is not None):
            raise InputError(
                "a certificate chain without its key, a key without its chain, or two keys",
                reason="INVALID_SETTINGS",
                remedy=f"Set {PREFIX}CHAIN and either {PREFIX}PRIVATE_KEY or "
                f"{PREFIX}SIGN_COMMAND, or none of them.",
            )

    @property
    def development_key(self) -> bool:
        """Whether marks are made with the key that everybody knows."""
        return self.key == DEVELOPMENT_KEY

    def log_what_is_off(self) -> None:
        """Warn of everything that is turned off or only for development."""
        for on, what in (
            (self.watermark, "frames are not watermarked: turned off by the settings"),
            (self.sign, "videos are not signed: turned off by the settings"),
            (
                not (self.watermark and self.development_key),
                "the watermark's key is for development: anybody can forge and remove marks",
            ),
            (
                not (self.sign and self.chain is None),
                "signatures are by a development authority: they prove nothing to others",
            ),
        ):
            if not on:
                log.warning(what)

    def mark_id(self, name: str) -> int:
        """The watermark's id of what is called ``name``, the same each time."""
        digest = hmac.digest(self.key, b"mark id" + name.encode(), hashlib.sha256)
        return int.from_bytes(digest[:8], "big") % MAX_ID + 1

    def signer(self) -> ManifestSigner:
        """Who signs. Raises :class:`InputError` where the files are not usable."""
        if self.chain is not None and self.private_key is not None:
            return file_signer(self.chain, self.private_key)
        if self.chain is not None:
            return command_signer(
                self.chain, self.sign_command, self.sign_algorithm, self.sign_timeout_s
            )
        files = self._development()
        return file_signer(files.chain, files.key)

    def trusted_pem(self) -> str:
        """The authorities whose signatures count; empty where nothing was ever signed.

        That is known only of a random authority: one that follows from a key signed elsewhere.
        """
        if self.trusted is not None:
            return self.trusted.read_text()
        if self.chain is not None:
            last = self.chain.read_text().split(_END)[-2]
            return f"{last.strip()}\n{_END}\n"
        root = self.folder / ROOT
        if self.development_key and not root.is_file():
            return ""
        return self._development().root.read_text()

    def _development(self) -> CertificateFiles:
        if self.development_key:
            return development_certificates(self.folder)
        name = hmac.digest(self.key, b"name of the development authority", hashlib.sha256)
        return development_certificates(self.folder / name.hex()[:16], self.key)


OFF = Provenance(watermark=False, sign=False)
"""Nothing of it: for tests and comparisons of pictures, never for what is shown to anybody."""


def provenance_from_environment(environment: Mapping[str, str] = os.environ) -> Provenance:
    """What the variables ``AVATAR_PROVENANCE__…`` say.

    Raises:
        InputError: a switch is neither on nor off, or a variable is not of its form.
    """

    def switch(name: str, default: bool) -> bool:
        word = environment.get(PREFIX + name, "").lower()
        if word and word not in _WORDS:
            raise _wrong(f"{name} is {word!r}", "Say on or off.")
        return _WORDS[word] if word else default

    def path(name: str) -> Path | None:
        return Path(value) if (value := environment.get(PREFIX + name)) else None

    return Provenance(
        key=environment.get(PREFIX + "KEY", "").encode() or DEVELOPMENT_KEY,
        watermark=switch("WATERMARK", True),
        sign=switch("SIGN", True),
        label=switch("LABEL_DUBS", False),
        chain=path("CHAIN"),
        private_key=path("PRIVATE_KEY"),
        sign_command=_command(environment.get(PREFIX + "SIGN_COMMAND", "")),
        sign_algorithm=_algorithm(environment.get(PREFIX + "SIGN_ALGORITHM", "")),
        sign_timeout_s=_seconds(environment.get(PREFIX + "SIGN_TIMEOUT_S", "")),
        trusted=path("TRUSTED"),
        folder=path("FOLDER") or default_folder(),
    )


def _command(text: str) -> tuple[str, ...]:
    try:
        words = json.loads(text or "[]")
    except ValueError:
        words = None
    if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
        raise _wrong("SIGN_COMMAND is no JSON list of text", 'Say ["program", "argument"].')
    return tuple(words)


def _algorithm(word: str) -> Algorithm:
    for known in ALGORITHMS:
        if (word or ALGORITHMS[0]) == known:
            return known
    raise _wrong(f"SIGN_ALGORITHM is {word!r}", f"Say one of {', '.join(ALGORITHMS)}.")


def _seconds(text: str) -> float:
    try:
        seconds = float(text or Provenance.sign_timeout_s)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < float("inf"):
        raise _wrong(f"SIGN_TIMEOUT_S is {text!r}", "Say a number of seconds above 0.")
    return seconds


def _wrong(what: str, remedy: str) -> InputError:
    return InputError(PREFIX + what, reason="INVALID_SETTINGS", remedy=remedy)
