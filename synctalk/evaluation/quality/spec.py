"""What every metric is called, which way is better, what it needs and where it comes from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

Better = Literal["higher", "lower"]
Kind = Literal["video", "recorded"]
"""``video``: :class:`VideoScorer` measures it. ``recorded``: a figure of a run, noted by it."""
Need = Literal[
    "reference",  # the source frames
    "head mask",  # ``add(head=…)``
    "mouth mask",  # ``add(mouth=…)``, or a source track
    "source track",  # ``VideoScorer(source=…)``
    "tracker",  # ``VideoScorer(tracker=…)``
    "audio",  # ``VideoScorer(audio=…)``
    "openface",  # ``VideoScorer(openface=…)``
    "weights",  # files that are not shipped: ``QualityModels``
    "run",  # a training or a rendering that is timed
]


@dataclass(frozen=True)
class MetricSpec:
    """A metric.

    Args:
        name: its key everywhere.
        better: which way is better.
        needs: inputs beside the rendered frames.
        unit: of the value; empty for a pure number.
        source: where its definition comes from.
        kind: who measures it.
    """

    name: str
    better: Better
    needs: tuple[Need, ...]
    unit: str
    source: str
    kind: Kind = "video"


@dataclass(frozen=True)
class Absent:
    """A metric that could not be measured.

    Args:
        reason: stable UPPER_SNAKE identifier, as in ``synctalk.errors``.
        remedy: how to get it, one sentence.
    """

    reason: str
    remedy: str


_WANG = "Wang et al. 2004, Image quality assessment: from error visibility to structural similarity"
_LPIPS = "Zhang et al. 2018, The unreasonable effectiveness of deep features (v0.1)"
_AUE = "action units of OpenFace (Baltrusaitis et al. 2015); the sum is this project's"
_OWN_AUE = "this project: action units from blendshapes"
_LSE = "Prajwal et al. 2020 on SyncNet (Chung and Zisserman 2016, Out of time)"
_SFACE = "Zhong et al. 2021, SFace"
_OWN = "this project"
_BOTH: tuple[Need, ...] = ("reference", "source track", "tracker")

_ALL = (
    MetricSpec("psnr", "higher", ("reference",), "dB", "10 log10(255² / MSE)"),
    MetricSpec("psnr_head", "higher", ("reference", "head mask"), "dB", "PSNR of the head"),
    MetricSpec("psnr_mouth", "higher", ("reference", "mouth mask"), "dB", "PSNR of the mouth box"),
    MetricSpec("ssim", "higher", ("reference",), "", _WANG),
    MetricSpec("ssim_mouth", "higher", ("reference", "mouth mask"), "", _WANG),
    MetricSpec("ms_ssim", "higher", ("reference",), "", "Wang et al. 2003, Multi-scale SSIM"),
    MetricSpec("lpips_alex", "lower", ("reference", "weights"), "", _LPIPS),
    MetricSpec("lpips_vgg", "lower", ("reference", "weights"), "", _LPIPS),
    MetricSpec("lpips_squeeze", "lower", ("reference", "weights"), "", _LPIPS),
    MetricSpec("fid", "lower", ("reference", "weights"), "", "Heusel et al. 2017"),
    MetricSpec("niqe", "lower", ("weights",), "", "Mittal, Soundararajan and Bovik 2013"),
    MetricSpec("brisque", "lower", ("weights",), "", "Mittal, Moorthy and Bovik 2012"),
    MetricSpec("hyperiqa", "higher", ("weights",), "", "Su et al. 2020, Blindly assess image…"),
    MetricSpec("lmd", "lower", _BOTH, "px at 512", "Chen et al. 2018, Lip movements generation"),
    MetricSpec("aue", "lower", ("reference", "openface"), "", _AUE),
    MetricSpec("aue_upper", "lower", ("reference", "openface"), "", _AUE),
    MetricSpec("aue_lower", "lower", ("reference", "openface"), "", _AUE),
    MetricSpec("aue_own", "lower", _BOTH, "", _OWN_AUE),
    MetricSpec("aue_own_upper", "lower", _BOTH, "", _OWN_AUE),
    MetricSpec("aue_own_lower", "lower", _BOTH, "", _OWN_AUE),
    MetricSpec("lse_c", "higher", ("source track", "audio", "weights"), "", _LSE),
    MetricSpec("lse_d", "lower", ("source track", "audio", "weights"), "", _LSE),
    MetricSpec("sync_own_confidence", "higher", ("tracker", "audio"), "", _OWN),
    MetricSpec("sync_own_lag", "lower", ("tracker", "audio"), "frames", _OWN),
    MetricSpec("pose_error", "lower", _BOTH, "°", _OWN),
    MetricSpec("pose_jitter", "lower", ("tracker",), "°/frame²", _OWN),
    MetricSpec("flicker", "lower", ("reference",), "grey levels", _OWN),
    MetricSpec("identity", "higher", ("reference", "source track", "weights"), "", _SFACE),
    MetricSpec("latency_ms", "lower", ("run",), "ms", _OWN, "recorded"),
    MetricSpec("fps_one_stream", "higher", ("run",), "fps", _OWN, "recorded"),
    MetricSpec("fps_batched", "higher", ("run",), "fps", _OWN, "recorded"),
    MetricSpec("fps_end_to_end", "higher", ("run",), "fps", _OWN, "recorded"),
    MetricSpec("train_s", "lower", ("run",), "s", _OWN, "recorded"),
    MetricSpec("peak_memory_mb", "lower", ("run",), "MB", _OWN, "recorded"),
    MetricSpec("cost_per_minute", "lower", ("run",), "currency", _OWN, "recorded"),
)
METRICS: Mapping[str, MetricSpec] = MappingProxyType({spec.name: spec for spec in _ALL})
"""Every metric by its name, in the order of tables."""
