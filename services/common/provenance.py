"""Settings of what tells our videos from filmed ones; see docs/provenance.md."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, PlainSerializer, SecretStr, model_validator

_PREFIX = "AVATAR_PROVENANCE__"


def _program(command: tuple[str, ...]) -> tuple[str, ...]:
    """A command without its arguments: who keeps a PIN there shall not find it in the logs."""
    return (*command[:1], *("…",) * bool(command[1:]))


class ProvenanceSettings(BaseModel):
    """Watermark, signature and label. The same for all services of an installation."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    key: SecretStr | None = Field(
        None, min_length=20,
        description="secret of the watermark; absent: a development key that everybody knows",
    )  # fmt: skip
    watermark: bool = Field(True, description="whether every frame is marked invisibly")
    sign: bool = Field(True, description="whether every file is signed with C2PA")
    label_live: bool = Field(True, description="whether live video says visibly that it is by AI")
    label_dubs: bool = Field(False, description="whether dubs say so, too")
    chain: Path | None = Field(
        None,
        description="PEM certificates of the signer, its own first; absent: a development "
        "authority's, which follows from the key and proves nothing to others",
    )
    private_key: Path | None = Field(None, description="PEM file of the signer's P-256 key")
    sign_command: Annotated[tuple[str, ...], PlainSerializer(_program)] = Field(
        (),
        description="program and arguments that sign in place of private_key, with a key in a KMS "
        "or HSM: bytes to sign on stdin, raw signature on stdout",
    )
    sign_algorithm: Literal["es256", "es384", "es512", "ps256", "ps384", "ps512", "ed25519"] = (
        Field("es256", description="algorithm of sign_command's signatures")
    )
    sign_timeout_s: float = Field(
        15.0, gt=0, allow_inf_nan=False, description="sign_command is killed after so long"
    )
    trusted: Path | None = Field(
        None, description="PEM authorities whose signatures count; absent: the signer's own"
    )
    folder: Path | None = Field(
        None, description="folder of the development authority; absent: ~/.avatar/provenance"
    )

    @model_validator(mode="after")
    def _whole(self) -> ProvenanceSettings:
        keys = (self.private_key is not None) + bool(self.sign_command)
        if keys != (self.chain is not None):
            raise ValueError("chain goes with either private_key or sign_command")
        if self.sign_command and shutil.which(self.sign_command[0]) is None:
            raise ValueError(f"sign_command: there is no program {self.sign_command[0]}")
        for path in (self.chain, self.private_key, self.trusted):
            if path is not None and not path.is_file():
                raise ValueError(f"{path} is not a file")
        return self

    def environment(self) -> dict[str, str]:
        """The variables that say the same to a process of the method's; they hold the secret."""
        said = {
            "KEY": self.key.get_secret_value() if self.key else "",
            "WATERMARK": "on" if self.watermark else "off",
            "SIGN": "on" if self.sign else "off",
            "LABEL_DUBS": "on" if self.label_dubs else "off",
            "CHAIN": str(self.chain or ""),
            "PRIVATE_KEY": str(self.private_key or ""),
            "SIGN_COMMAND": json.dumps(self.sign_command) if self.sign_command else "",
            "SIGN_ALGORITHM": self.sign_algorithm,
            "SIGN_TIMEOUT_S": str(self.sign_timeout_s),
            "TRUSTED": str(self.trusted or ""),
            "FOLDER": str(self.folder or ""),
        }
        return {_PREFIX + name: value for name, value in said.items() if value}
