"""What `import synctalk` promises."""

from __future__ import annotations

import inspect
import subprocess
import sys

import pytest

import synctalk

PROMISED = [
    "AvatarBundle",
    "BackendError",
    "BundleError",
    "Cancelled",
    "DatasetError",
    "Description",
    "DubResult",
    "EvaluationReport",
    "Finding",
    "FootageError",
    "InputError",
    "MediaError",
    "MissingModelError",
    "ProgressCallback",
    "ProgressEvent",
    "Provenance",
    "SubjectDataset",
    "SyncTalkError",
    "TrainingError",
    "Verification",
    "__version__",
    "describe",
    "diagnose",
    "dub",
    "evaluate",
    "preprocess",
    "train",
    "verify",
]

PARAMETERS = {
    "preprocess": ["video", "out", "tracker", "size", "face_model", "progress"],
    "train": ["dataset", "out", "preset", "device", "resume", "progress"],
    "dub": [
        "avatar",
        "audio",
        "out",
        "portrait",
        "torso",
        "background",
        "expression",
        "blinks_per_minute",
        "seed",
        "device",
        "provenance",
        "progress",
    ],
    "evaluate": ["avatar", "dataset", "out", "device", "progress"],
    "describe": ["path"],
    "diagnose": [],
    "verify": ["path", "provenance"],
}


def test_the_public_names_are_these_and_sorted() -> None:
    assert synctalk.__all__ == PROMISED
    assert synctalk.__all__ == sorted(synctalk.__all__)


@pytest.mark.parametrize("name", PROMISED)
def test_every_public_name_exists(name: str) -> None:
    assert getattr(synctalk, name) is not None


@pytest.mark.parametrize("name", sorted(PARAMETERS))
def test_each_call_takes_the_promised_parameters(name: str) -> None:
    parameters = inspect.signature(getattr(synctalk, name)).parameters
    assert [p for p in parameters if p in PARAMETERS[name]] == PARAMETERS[name]


@pytest.mark.parametrize("name", ["preprocess", "train", "dub", "evaluate"])
def test_options_of_long_work_are_keyword_only_and_have_defaults(name: str) -> None:
    parameters = inspect.signature(getattr(synctalk, name)).parameters.values()
    options = [p for p in parameters if p.kind is p.KEYWORD_ONLY]
    assert "progress" in [p.name for p in options]
    assert all(p.default is not p.empty for p in options)


@pytest.mark.parametrize(
    "name", [n for n in PROMISED if n not in ("__version__", "ProgressCallback")]
)
def test_every_public_name_has_a_docstring_of_its_own(name: str) -> None:
    documentation = getattr(synctalk, name).__doc__
    assert documentation
    assert not documentation.startswith(f"{name}(")  # what @dataclass writes by itself


def test_every_error_descends_from_one_base_and_has_an_exit_code() -> None:
    names = [n for n in PROMISED if n.endswith("Error") or n == "Cancelled"]
    for name in names:
        error = getattr(synctalk, name)("What.", reason="WHY", remedy="Do this.")
        assert isinstance(error, synctalk.SyncTalkError)
        assert (error.reason, str(error)) == ("WHY", "What. Do this.")
        assert error.exit_code in (1, 3, 4, 5, 130)


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no_such_thing"):
        synctalk.no_such_thing  # noqa: B018


def test_public_calls_are_callable_even_when_their_modules_were_imported_first() -> None:
    names = ["preprocess", "train", "dub", "evaluate"]
    homes = sorted({getattr(synctalk, name).__module__ for name in names})
    code = (
        f"import {', '.join(homes)}; from synctalk import {', '.join(names)}; "
        f"assert all(map(callable, [{', '.join(names)}]))"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_importing_the_package_loads_no_heavy_library() -> None:
    code = (
        "import sys, synctalk; "
        "print([m for m in ('torch', 'numpy', 'cv2', 'av') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
