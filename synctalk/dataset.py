"""SubjectDataset: what preprocessing learns from a video, on disk (DESIGN §3).

A folder, written once and then only read::

    manifest.json        schema version, source, crop, camera, cuts, sha256 of every part
    quality.json/.png    the footage report a person reads
    frames.mp4           the source at 25 fps, upright, its own resolution (H.264, lossless at 512²)
    plates.mp4           the crop with the head taken out (H.264)
    masks.mkv            per-pixel part labels of the crop (8-bit grey, lossless); see ``PartLabel``
    matte.mkv            soft alpha of the head, hair included (8-bit grey, lossless)
    background.png       the empty scene behind the person, crop-sized
    tracks.safetensors   arrays over frames; see ``Tracks``
    audio.wav            16 kHz mono, as long as the video
    audio.safetensors    mel spectrogram and audio-visual features

The only code that reads or writes these files. Coordinates are continuous pixels of the crop: the
centre of its first pixel is (0.5, 0.5). The camera is a pinhole, x right, y down, z forward;
the head frame has its origin between the eyes, x to the subject's left, y up, z out of the face,
millimetres; ``X_cam = R @ X_head + t``.
"""

from __future__ import annotations
