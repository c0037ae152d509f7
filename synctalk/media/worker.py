"""The limited process of :mod:`synctalk.media.sandbox`: one request, JSON lines on stdout."""

from __future__ import annotations

import errno
import json
import os
import resource
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import av

from synctalk.errors import MediaError
from synctalk.media.confine import confine
from synctalk.media.limits import MediaLimits, check_file
from synctalk.media.manifest import read_manifest_here
from synctalk.media.normalise import normalise_here, shown
from synctalk.media.pcm import decode_pcm, sound_end, write_pcm
from synctalk.media.picture import read_picture_here
from synctalk.media.probe import probe_here
from synctalk.media.samples import sample_here
from synctalk.media.sandbox import Request
from synctalk.media.source import open_source, undecodable

AUDIO_NAME = "audio.wav"


def main() -> None:
    """Answer the request given as the only argument."""
    answer(Request.from_json(sys.argv[1]))


def answer(request: Request) -> None:
    """Limit this process for good, do what is asked, and say what came of it."""
    limit_bytes(request.limits, writes=bool(request.out))
    limit_cpu(request.limits.probe_s)
    try:
        _confine(request)
        _say({"result": _run(request)})
    except MediaError as error:
        _say({"error": _as_json(error)})
    except (MemoryError, av.error.MemoryError):
        _say({"error": _too_much(request, "memory", "Give a smaller video (at most 4K).")})
    except (OSError, av.FFmpegError) as error:
        if getattr(error, "errno", None) in (errno.EFBIG, errno.ENOSPC):
            remedy = "Make room, or give a shorter video."
            _say({"error": _too_much(request, "disk space", remedy)})
        elif isinstance(error, av.FFmpegError):
            _say({"error": _as_json(undecodable(Path(request.src), "content", error))})
        else:
            raise


def _confine(request: Request) -> None:
    source = Path(request.src)
    check_file(source, request.limits)
    confine([source], [Path(request.out)] if request.out else [])


def limit_bytes(limits: MediaLimits, *, writes: bool) -> None:
    """Bound the address space and the files of this process."""
    statm = Path("/proc/self/statm")
    if statm.exists():  # elsewhere RLIMIT_AS is not dependable
        used = int(statm.read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
        _limit(resource.RLIMIT_AS, used + limits.memory_bytes)
    _limit(resource.RLIMIT_FSIZE, limits.max_output_bytes if writes else 0)
    _limit(resource.RLIMIT_CORE, 0)


def limit_cpu(seconds: float) -> None:
    """Bound the CPU time of this process from now on."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    _limit(resource.RLIMIT_CPU, int(used.ru_utime + used.ru_stime + seconds) + 1)


def _limit(kind: int, value: int) -> None:
    hard = resource.getrlimit(kind)[1]
    if hard != resource.RLIM_INFINITY:
        value = min(value, hard)
    resource.setrlimit(kind, (value, hard))


def _run(request: Request) -> dict[str, Any]:
    path, limits = Path(request.src), request.limits
    if request.task == "picture":
        return read_picture_here(request)
    if request.task == "manifest":
        return dict(read_manifest_here(request))
    info = probe_here(path, limits)
    if request.task == "probe":
        return asdict(info)
    limit_cpu(60 + limits.cpu_s_per_media_s * info.duration_s)
    if request.task == "audio":
        with open_source(path, limits) as container:
            blocks = decode_pcm(path, container, request.sample_rate, None)
            end = sound_end(container, request.sample_rate)
            out = Path(request.out) / AUDIO_NAME
            n = write_pcm(out, blocks, request.sample_rate, limits, end)
        return {"samples": n}
    if request.task == "sample":
        return sample_here(request, shown(path, info), _say_progress)
    return asdict(normalise_here(request, info, _say_progress))


def _as_json(error: MediaError) -> dict[str, str]:
    return {"message": error.message, "reason": error.reason, "remedy": error.remedy}


def _too_much(request: Request, what: str, remedy: str) -> dict[str, str]:
    message = f"{request.src}: decoding needed more {what} than there is."
    return {"message": message, "reason": "DECODER_LIMIT", "remedy": remedy}


def _say_progress(done: int, total: int) -> None:
    _say({"progress": [done, total]})


def _say(message: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(message) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
