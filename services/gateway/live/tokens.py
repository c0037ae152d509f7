"""Secrets: what is kept of them is their SHA-256, which suffices for random ones of 32 bytes."""

from __future__ import annotations

import hashlib
import secrets

SESSION_TOKEN = "avs_"


def new_token() -> str:
    """A token for one live session."""
    return f"{SESSION_TOKEN}{secrets.token_urlsafe(32)}"


def digest_of(secret: str) -> str:
    """What is kept of a key or token."""
    return hashlib.sha256(secret.encode()).hexdigest()


def token_key(digest: str) -> str:
    """Where Redis says whose session a token opens; it expires with the token."""
    return f"gw:live:token:{digest}"
