"""Waiting for an avatar, a dub or a job, whatever restarts meanwhile."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from services.cli import words
from services.cli.api import Api, Resource
from services.cli.screen import Bar, Screen
from services.cli.session import JobFailed
from services.cli.transfer import OnBytes, download
from synctalk.errors import Cancelled

ENDS = ("ready", "succeeded", "failed", "cancelled", "dead")
_GOOD = ("ready", "succeeded")


def path_of(resource_id: str) -> str:
    """Where the API has it: avatars and dubs show by their ids, all else is a job."""
    kinds = {"av": "avatars", "dub": "dubs"}
    return f"{kinds.get(resource_id.partition('_')[0], 'jobs')}/{resource_id}"


def wait_for(api: Api, path: str, screen: Screen) -> Resource:
    """Show progress until it has ended well; what it then is.

    Raises:
        JobFailed: it has failed or was cancelled; says why.
        Cancelled: Ctrl-C, which ends the waiting and not the work.
    """
    teller = _Teller(path.partition("/")[0].removesuffix("s"), screen)
    resource: Resource = {}
    try:
        for resource in api.watch(path, lambda found: found["state"] in ENDS):
            teller.tell(resource)
    except KeyboardInterrupt:
        name = path.partition("/")[2]
        raise Cancelled(
            "Stopped waiting; the work goes on.",
            remedy=f"Look: avatar show {name}   Wait again: avatar wait {name}   "
            f"End it: avatar cancel {name}",
        ) from None
    if resource["state"] not in _GOOD:
        raise failure(resource)
    return resource


def failure(resource: Resource) -> JobFailed:
    """Why it did not end well."""
    error = resource.get("error")
    was = "was " if resource["state"] == "cancelled" else ""
    return JobFailed(
        f"{resource['id']} {was}{resource['state']}{': ' + error['message'] if error else '.'}",
        reason=error["code"] if error else "CANCELLED",
        remedy=error["remedy"] if error else f"Queue it again: avatar requeue {resource['id']}",
    )


def fetch_dub(api: Api, dub: Resource, out: Path, screen: Screen) -> list[Path]:
    """Save a finished dub as ``out``, and captions, where there are any, beside it."""
    wanted = [("video_url", out), *_beside(dub, out)]
    for name, path in wanted:
        shown = bytes_shown(screen, f"save {path.name}")
        sha256 = str(dub.get("video_sha256") or "") if name == "video_url" else ""
        download(api, _fresh_link(api, dub, name), path, shown, sha256)
    return [path for _, path in wanted]


def bytes_shown(screen: Screen, name: str) -> OnBytes:
    """Shows bytes on a bar."""

    def show(done: int, total: int) -> None:
        fraction = done / total if total > 0 else None
        screen.show(Bar(name, fraction, count=words.size(done)))

    return show


def _beside(dub: Resource, out: Path) -> list[tuple[str, Path]]:
    files = (
        ("captions_vtt_url", out.with_suffix(".vtt")),
        ("captions_srt_url", out.with_suffix(".srt")),
        ("manifest_url", out.with_name(f"{out.name}.c2pa")),
    )
    return [(name, path) for name, path in files if dub.get(name)]


def _fresh_link(api: Api, dub: Resource, name: str) -> Callable[[], str]:
    return lambda: str(api.get(f"dubs/{dub['id']}")[name])


class _Teller:
    """Turns what a resource says into bars, and says its quality report once."""

    def __init__(self, name: str, screen: Screen) -> None:
        self._name = name
        self._screen = screen
        self._said_quality = False

    def tell(self, resource: Resource) -> None:
        if resource.get("quality") and not self._said_quality:
            self._said_quality = True
            for line in words.quality(resource["quality"]):
                self._screen.say(line)
        if resource["state"] not in ENDS:
            stage = str(resource.get("stage") or "")
            note = ": ".join(filter(None, (resource["state"], stage)))
            figures = words.figures(resource.get("metrics") or {})
            self._screen.show(
                Bar(self._name, resource.get("fraction"), resource.get("eta_s"), note, figures)
            )
