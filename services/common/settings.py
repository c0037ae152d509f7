"""Settings of a process: from ``AVATAR_…`` environment variables, checked before anything starts.

Nested fields are joined with two underscores: ``AVATAR_STORAGE__BUCKET``. A file of the same
variables may be named by ``AVATAR_ENV_FILE``; the environment wins over it. Each service extends
:class:`ServiceSettings` with what it alone needs and calls :func:`load` in its ``main``.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
    model_validator,
)
from pydantic_settings import BaseSettings, SettingsConfigDict

from services.common.errors import ConfigurationError

PREFIX = "AVATAR_"
_DELIMITER = "__"


def _http_url(url: str) -> str:
    if not url.startswith(("http://", "https://")) or url.count("/") > 2:
        raise ValueError("must be http://host:port or https://host:port, without a path")
    return url


def _redis_url(url: SecretStr) -> SecretStr:
    if not url.get_secret_value().startswith(("redis://", "rediss://", "unix://")):
        raise ValueError("must begin with redis://, rediss:// or unix://")
    return url


HttpUrl = Annotated[str, AfterValidator(_http_url)]
Port = Annotated[int, Field(ge=0, le=65535)]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class StorageSettings(_Part):
    """The object store."""

    url: HttpUrl = Field(description="S3 endpoint that the services reach")
    public_url: HttpUrl | None = Field(
        None, description="S3 endpoint that users reach; presigned URLs name it"
    )
    access_key: SecretStr = Field(description="S3 access key")
    secret_key: SecretStr = Field(description="S3 secret key")
    bucket: str = Field(
        "avatar",
        pattern=r"^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$",
        description="bucket that holds everything",
    )
    region: str = Field("us-east-1", description="S3 region")


class TlsSettings(_Part):
    """A certificate of this process and, for mutual TLS, the authority of its peers."""

    certificate: Path = Field(description="PEM file with the certificate chain of this process")
    key: Path = Field(description="PEM file with its private key")
    authority: Path = Field(description="PEM file with the authority that signed the peers'")
    mutual: bool = Field(True, description="whether a server demands a certificate of its clients")
    callers: tuple[str, ...] = Field(
        (),
        description="whose calls a server takes: names (DNS or URI) that their certificates hold; "
        "empty: of every certificate of the authority",
    )
    server_name: str = Field(
        "",
        description="name that every server's certificate holds and callers check, for services "
        "that are called by their address; absent: the name that is called",
    )

    @model_validator(mode="after")
    def _mutual(self) -> TlsSettings:
        if self.callers and not self.mutual:
            raise ValueError("callers are told by their certificates: mutual must be true")
        return self

    @model_validator(mode="after")
    def _readable(self) -> TlsSettings:
        for path in (self.certificate, self.key, self.authority):
            if not path.is_file():
                raise ValueError(f"{path} is not a file")
        return self


class RpcSettings(_Part):
    """How this process serves gRPC and calls other services."""

    host: str = Field("127.0.0.1", description="address to listen on; 0.0.0.0 in a pod")
    port: Port = Field(0, description="port to listen on; 0 chooses a free one")
    token: SecretStr = Field(description="what services show each other; the same in all of them")
    tls: TlsSettings | None = Field(None, description="absent: plain text")
    max_message_bytes: int = Field(4 << 20, gt=0, description="largest message taken")
    max_deadline_s: float = Field(86_400, gt=0, description="longest deadline a caller may set")
    max_connection_age_s: float = Field(
        600, gt=0, description="connections are renewed so often, so that new replicas get some"
    )
    drain_s: float = Field(
        30, ge=0, description="what running calls get after SIGTERM before they are cut off"
    )


class DataSettings(BaseSettings):
    """What is needed to reach the data."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, env_nested_delimiter=_DELIMITER, frozen=True, extra="ignore"
    )

    storage: StorageSettings
    redis_url: Annotated[SecretStr, AfterValidator(_redis_url)] = Field(
        description="Redis, with its password"
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="least severe events that are logged"
    )


class ServiceSettings(DataSettings):
    """What every service needs."""

    rpc: RpcSettings
    metrics_host: str = Field("127.0.0.1", description="address of /metrics; 0.0.0.0 in a pod")
    metrics_port: Port = Field(0, description="port of /metrics; 0 chooses a free one")
    otlp_endpoint: HttpUrl | None = Field(
        None, description="OTLP/gRPC collector of traces; absent: no tracing"
    )


SettingsT = TypeVar("SettingsT", bound=BaseSettings)


def load(kind: type[SettingsT]) -> SettingsT:
    """Read and validate the settings of this process.

    Raises:
        ConfigurationError: naming every variable that is missing or wrong, never its value.
    """
    env_file = os.environ.get(f"{PREFIX}ENV_FILE")
    if env_file and not Path(env_file).is_file():
        raise ConfigurationError(
            f"{PREFIX}ENV_FILE names {env_file}, which is not a file",
            reason="INVALID_SETTINGS",
            remedy="Correct or unset it.",
        )
    try:
        return kind(_env_file=env_file)
    except ValidationError as error:
        problems = (
            f"{PREFIX}{_DELIMITER.join(str(part) for part in problem['loc']).upper()}: "
            f"{problem['msg'].removeprefix('Value error, ').lower()}"
            for problem in error.errors(include_input=False, include_url=False)
        )
        raise ConfigurationError(
            "settings cannot be used: " + "; ".join(problems) + ".",
            reason="INVALID_SETTINGS",
            remedy="Set these variables in the environment or in the file of AVATAR_ENV_FILE.",
        ) from None


def printable(settings: BaseSettings) -> dict[str, Any]:
    """The settings as JSON values for the log line at start; secrets are stars."""
    return settings.model_dump(mode="json")
