"""The services that a session stands on, in its own words; clients.py speaks gRPC to them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Protocol

from services.common.artifacts import ArtifactRef


@dataclass(frozen=True)
class Subject:
    """Whom a session shows.

    Args:
        colour: what stands behind the person, ``#rrggbb``; empty: what was filmed.
    """

    session: str
    tenant: str
    avatar_version: str
    bundle: ArtifactRef
    colour: str = ""


@dataclass(frozen=True)
class Features:
    """What drives one frame of the session.

    Args:
        slot: which frame it is.
        row: what the encoder heard, as the expression service sent it; nobody here looks into it.
    """

    slot: int
    row: Sequence[float]


@dataclass(frozen=True)
class HeardFeatures:
    """Features as the expression service counts: frames of its stream."""

    frame: int
    row: Sequence[float]


class Expression(Protocol):
    """Speech to features."""

    def listen(
        self, tenant: str, blocks: AsyncIterator[bytes]
    ) -> AbstractAsyncContextManager[tuple[str, AsyncIterator[HeardFeatures]]]:
        """A causal stream: the encoder's version, and features as they come.

        Args:
            blocks: PCM at 48 kHz, in order; the stream ends with them.

        Raises:
            SyncTalkError: whatever the service says.
        """
        ...


@dataclass(frozen=True)
class Interrupt:
    """Forget every frame from ``resume`` on; the next features are its."""

    resume: int


@dataclass(frozen=True)
class KeyFrame:
    """Make the next frame a key frame."""


ToRenderer = Features | Interrupt | KeyFrame


@dataclass(frozen=True)
class Accepted:
    """The renderer has a place for the session, and the avatar loaded."""

    width_px: int
    height_px: int


@dataclass(frozen=True)
class Rendered:
    """An encoded frame."""

    slot: int
    data: bytes
    key: bool


@dataclass(frozen=True)
class Interrupted:
    """What follows comes after the interruption."""


@dataclass(frozen=True)
class Leaving:
    """The renderer asks that the session be taken elsewhere."""


FromRenderer = Accepted | Rendered | Interrupted | Leaving


class Renderer(Protocol):
    """One replica: features to frames."""

    target: str

    def render(
        self,
        subject: Subject,
        encoder_version: str,
        size_px: tuple[int, int],
        context: Sequence[Features],
        features: AsyncIterator[ToRenderer],
    ) -> AbstractAsyncContextManager[AsyncIterator[FromRenderer]]:
        """A live stream: first :class:`Accepted`; the end of ``features`` ends it.

        Raises:
            ResourceExhausted: no place, reason ``RENDERER_FULL``.
            SyncTalkError: whatever else the replica says.
        """
        ...


class Renderers(Protocol):
    """All replicas."""

    async def candidates(self, subject: Subject) -> list[Renderer]:
        """Those to try, best first; those that failed lately come last. Never empty.

        Raises:
            Unavailable: there is none.
        """
        ...

    def failed(self, renderer: Renderer) -> None:
        """Try others before this one for a while."""
        ...
