"""Settings of what tells our videos from filmed ones; see docs/provenance.md."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, SecretStr, model_validator

_PREFIX = "AVATAR_PROVENANCE__"


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
    trusted: Path | None = Field(
        None, description="PEM authorities whose signatures count; absent: the signer's own"
    )
    folder: Path | None = Field(
        None, description="folder of the development authority; absent: ~/.avatar/provenance"
    )

    @model_validator(mode="after")
    def _whole(self) -> ProvenanceSettings:
        if (self.chain is None) != (self.private_key is None):
            raise ValueError("chain and private_key go together")
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
            "TRUSTED": str(self.trusted or ""),
            "FOLDER": str(self.folder or ""),
        }
        return {_PREFIX + name: value for name, value in said.items() if value}
