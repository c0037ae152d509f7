"""What the gateway keeps of erasures."""

from __future__ import annotations

from typing import ClassVar, Literal

from services.gateway.model import Part
from services.gateway.records import Record


class Erased(Part):
    """What an erasure has removed."""

    objects: int = 0
    bytes: int = 0
    jobs: int = 0
    uploads: int = 0
    dubs: int = 0

    def __add__(self, other: Erased) -> Erased:
        """Both together."""
        mine, its = self.model_dump(), other.model_dump()
        return Erased(**{name: mine[name] + its[name] for name in mine})


class ErasedObject(Part):
    """An object that was there."""

    key: str
    size_bytes: int


class Inventory(Part):
    """All that there is of something, as listed before it is erased.

    Args:
        records: keys of the database.
    """

    objects: tuple[ErasedObject, ...] = ()
    records: tuple[str, ...] = ()

    def __add__(self, other: Inventory) -> Inventory:
        """Both together, each once."""
        return Inventory(
            objects=tuple({one.key: one for one in (*self.objects, *other.objects)}.values()),
            records=tuple(dict.fromkeys((*self.records, *other.records))),
        )


class ErasureRecord(Record):
    """Something that is being erased; it has the id of what it erases.

    Args:
        uploads: those that it used.
        dubs: ids of dubs that are erased with an avatar.
        why: the request, or the consent that was revoked.
        inventory: what was there, once it is ``listed``: before anything is deleted.
        done_s: when everything was gone; its places are swept once more at ``again_s``.
    """

    KIND: ClassVar[str] = "erasure"

    collection: Literal["avatars", "dubs", "consents"]
    uploads: tuple[str, ...]
    dubs: tuple[str, ...] = ()
    why: str = "request"
    inventory: Inventory = Inventory()
    listed: bool = False
    erased: Erased = Erased()
    done_s: float | None = None
    again_s: float = 0.0

    @property
    def due_s(self) -> float | None:
        """Always open; it is deleted in the end."""
        return 0 if self.done_s is None else self.again_s


class ReceiptRecord(Record):
    """What an erasure has erased, and what a listing found afterwards. Kept for good.

    Args:
        left: what was listed after the erasure; nothing, unless something went wrong.
    """

    KIND: ClassVar[str] = "receipt"

    collection: Literal["avatars", "dubs", "consents"]
    why: str
    begun_s: float
    inventory: Inventory
    left: Inventory
    erased: Erased
