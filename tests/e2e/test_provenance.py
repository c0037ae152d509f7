"""A dub from the suite tells where it comes from, and so does what is left of it."""

from __future__ import annotations

from pathlib import Path

import av
from harness import Made, ignore

from services.cli.transfer import upload
from synctalk.media import VideoReader, VideoWriter


def test_a_dub_is_signed_and_its_copies_are_known_by_their_mark(
    owner: Made, tmp_path: Path
) -> None:
    tenant = owner.tenant
    video = tenant.fetch(owner.dub["video_url"], tmp_path / "dub.mp4")

    def verify(path: Path) -> dict:
        stored = upload(tenant.api, path, "video", ignore)
        return dict(tenant.api.post("verify", {"upload": stored}))

    whole = verify(video)
    assert (whole["verdict"], whole["signature"]) == ("signed", "trusted")
    assert whole["mark"]["made_for"] == owner.dub["id"]
    assert whole["mark"]["avatar"] == owner.avatar["id"]
    assert whole["mark"]["id"] == whole["signed_mark"]
    assert not whole["mark"]["development"]  # the suite has made a key of its own

    # Another encoder at another size, as a platform does it.
    copy = tmp_path / "copy.mp4"
    reader = VideoReader(video)
    width, height = (side * 3 // 8 * 2 for side in (reader.width, reader.height))
    with VideoWriter(copy, width, height) as writer, av.open(str(video)) as container:
        for frame in container.decode(video=0):
            writer.write(frame.reformat(width, height, "rgb24").to_ndarray())
    known = verify(copy)
    assert (known["verdict"], known["signature"]) == ("watermarked", "none")
    assert known["mark"]["id"] == whole["mark"]["id"]
