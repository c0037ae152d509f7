"""The figures the paper gives for its own footage (tables I and II) and what they need."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class PaperRow:
    """One method's figures in the paper; None where the paper gives none.

    Args:
        psnr: dB. ms_ssim: in [0,1]. lmd: px. train_h: hours on one RTX 4090. fps: at 512x512.
    """

    method: str
    psnr: float
    lpips: float
    ms_ssim: float
    fid: float
    lmd: float | None = None
    train_h: float | None = None
    fps: float | None = None


PAPER_ROWS = (
    PaperRow("TalkingGaussian", 33.12, 0.0333, 0.9610, 7.50, 2.697, 1.2, 105.36),
    PaperRow("GaussianTalker", 32.75, 0.0523, 0.9541, 6.39, 2.831, 2.8, 85.03),
    PaperRow("SyncTalk", 35.35, 0.0235, 0.9769, 3.92, 2.571, 3.2, 52.18),
    PaperRow("SyncTalk++", 36.38, 0.0201, 0.9826, 3.88, 2.533, 1.5, 101.20),
    PaperRow("SyncTalk++ with portrait blending", 39.57, 0.0097, 0.9905, 2.20),
)
PLAIN, PORTRAIT = PAPER_ROWS[-2], PAPER_ROWS[-1]

NOT_MEASURED = {
    "lpips": "synctalk bench measures it, with weights (an image classifier's)",
    "fid": "synctalk bench measures it, with weights (Inception)",
    "niqe": "synctalk bench measures it, with its parameters",
    "brisque": "synctalk bench measures it, with its parameters",
    "hyperiqa": "synctalk bench measures it, with weights (HyperIQA)",
    "aue": "synctalk bench measures its own; the paper's needs OpenFace",
    "lse_c": "synctalk bench measures it, with weights (SyncNet)",
    "lse_d": "synctalk bench measures it, with weights (SyncNet)",
}
"""Metrics of the paper that are absent here, with the reason; nothing stands in for them."""

DEFINITIONS = {
    "PSNR": "Peak signal-to-noise ratio in dB, peak 255, over the three colours and all pixels of "
    "the square crop; the mean of the frames' values. Higher is better.",
    "PSNR head": "The same over the pixels whose head matte (hair included) exceeds 127 of 255.",
    "PSNR mouth": "The same over the upright box around the outer lips (iBUG points 48–59, found "
    "in the source frame), widened by a quarter of their width on every side.",
    "SSIM": "Structural similarity (Wang et al. 2004), 11×11 Gaussian window, σ 1.5, peak 255, "
    "mean over colours; “SSIM mouth” takes the windows centred in the mouth box.",
    "MS-SSIM": "Multi-scale structural similarity (Wang et al. 2003), five scales, peak 255.",
    "LMD": "Landmark distance: mean distance of the 20 mouth points (iBUG 48–67) between rendered "
    "and source frame, each frame's mouth centroid removed, in px of a 512×512 crop. Both frames "
    "are tracked by the same mesh tracker. The paper does not say how it aligns nor which tracker "
    "it uses, so its LMD is only roughly comparable. Lower is better.",
    "Lip gap r": "Correlation over time of the inner lips' distance (iBUG points 62 and 66) "
    "between rendered and source frames, both tracked: 1 when the mouth opens and closes alike.",
    "Portrait blending": "The rendered face is blended into the source frame with a soft mask; "
    "outside the mask the picture is the source's own, which raises every full-frame figure by "
    "construction (the paper's “portrait” rows have the same property). Without blending, the "
    "background and body still come from the source's plate.",
    "Lips from audio": "Only the lips are driven by the clip's own audio; head pose, eyes and "
    "brows come from the tracked source, as in the paper. Lips that move plausibly but otherwise "
    "than in the source lower PSNR and raise LMD.",
    "Lips from tracked landmarks": "The lips follow landmarks tracked in the held-out source "
    "frames themselves: an oracle for the audio, which shows what the renderer alone can do.",
}
