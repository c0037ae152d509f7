"""Where the networks and parameters of the metrics are found."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from synctalk.evaluation.quality.spec import Absent
from synctalk.face.models import model_folders


@dataclass(frozen=True)
class ModelFile:
    """A file that a metric needs and that is not shipped.

    Args:
        names: file names under which it is looked for; the first is the published one.
        origin: where it is published, with its licence.
    """

    names: tuple[str, ...]
    origin: str


@dataclass(frozen=True)
class QualityModels:
    """Folders searched for the metrics' files.

    Args:
        folder: searched first, if given; then ``SYNCTALK_MODELS`` and the other folders of
            ``synctalk.face.models``, then torch's cache (``$TORCH_HOME/hub/checkpoints``).
    """

    folder: Path | None = None

    def folders(self) -> list[Path]:
        """Folders in the order they are searched."""
        home = os.environ.get("TORCH_HOME", str(Path.home() / ".cache" / "torch"))
        own = [self.folder] if self.folder else []
        return [*own, *model_folders(), Path(home) / "hub" / "checkpoints"]

    def find(self, file: ModelFile) -> Path | Absent:
        """The file, in the first folder that has it, or how to get it."""
        names = [name for own in file.names for name in (Path(own).stem + ".safetensors", own)]
        places = (folder / name for folder in self.folders() for name in names)
        found = next((place for place in places if place.is_file()), None)
        return found or Absent(
            "WEIGHTS_ABSENT",
            f"Put {file.names[0]} ({file.origin}) into {self.folders()[0]} or point "
            "SYNCTALK_MODELS at the folder that has it.",
        )


_TORCHVISION = "download.pytorch.org/models, BSD-3; trained on ImageNet"
_LPIPS = "github.com/richzhang/PerceptualSimilarity, lpips/weights/v0.1, BSD-2"
ALEXNET = ModelFile(("alexnet-owt-7be5be79.pth", "alexnet-owt-4df8aa71.pth"), _TORCHVISION)
VGG16 = ModelFile(("vgg16-397923af.pth",), _TORCHVISION)
SQUEEZENET = ModelFile(("squeezenet1_1-b8a52dc0.pth", "squeezenet1_1-f364aa15.pth"), _TORCHVISION)
LPIPS_ALEX = ModelFile(("lpips_lin_v0.1_alex.pth", "alex.pth"), _LPIPS)
LPIPS_VGG = ModelFile(("lpips_lin_v0.1_vgg.pth", "vgg.pth"), _LPIPS)
LPIPS_SQUEEZE = ModelFile(("lpips_lin_v0.1_squeeze.pth", "squeeze.pth"), _LPIPS)
INCEPTION = ModelFile(
    ("pt_inception-2015-12-05-6726825d.pth",),
    "github.com/mseitzer/pytorch-fid/releases, Apache-2.0",
)
NIQE = ModelFile(("niqe_pris_params.npz",), "github.com/XPixelGroup/BasicSR, Apache-2.0")
_BRISQUE = "github.com/opencv/opencv_contrib, modules/quality/samples, Apache-2.0"
BRISQUE_MODEL = ModelFile(("brisque_model_live.yml",), _BRISQUE)
BRISQUE_RANGE = ModelFile(("brisque_range_live.yml",), _BRISQUE)
HYPERIQA = ModelFile(("koniq_pretrained.pkl",), "github.com/SSL92/hyperIQA, MIT")
SYNCNET = ModelFile(("syncnet_v2.model",), "github.com/joonson/syncnet_python, MIT")
SFACE = ModelFile(
    ("face_recognition_sface_2021dec.onnx",),
    "github.com/opencv/opencv_zoo, models/face_recognition_sface, Apache-2.0",
)
