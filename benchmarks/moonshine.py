"""The network that hears is Moonshine Tiny's, weight by weight and token by token.

    make moonshine, or
    python benchmarks/moonshine.py moonshine_voice-0.1.0-*.whl [--export speech.safetensors]
    → benchmarks/results/moonshine.json

The wheel (MIT, "the code and English-language models") holds the encoder in eight bits. Its weights
are compared with those in ``encoder.safetensors``, bit by bit, and its own program (ONNX Runtime,
which quantises what flows between the layers too) with ours on the clean narrative. Since the wheel
gives the last layer only, ours is carried on through the two layers that we leave out.
``--export`` writes the tensors that ``encoder.safetensors`` keeps under ``speech.``.
"""

from __future__ import annotations

import argparse
import json
import re
from hashlib import sha256
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import numpy as np
import onnxruntime
import torch
from numpy.typing import NDArray
from onnxruntime.tools.ort_format_model.ort_flatbuffers_py.fbs.InferenceSession import (
    InferenceSession,
)
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.nn.functional import group_norm, layer_norm

from synctalk.evaluation.machine import describe_machine
from synctalk.face_sync.encoder import WEIGHTS
from synctalk.face_sync.speech_network import CHANNELS, LAYERS, Layer, SpeechNetwork
from synctalk.media import read_audio

ROOT = Path(__file__).resolve().parent.parent
SPEECH = ROOT.parent / "shared" / "data" / "audio" / "narrative_clean.wav"
MODEL = "moonshine_voice/assets/tiny-en/encoder_model.ort"
ALL_LAYERS = 6
SECONDS = 10
_NUMBERS = {1: "f4", 2: "u1"}
_NAMES = {
    "self_attn.q_proj": "query", "self_attn.k_proj": "key", "self_attn.v_proj": "value",
    "self_attn.o_proj": "mix", "mlp.fc1": "widen", "mlp.fc2": "narrow",
}  # fmt: skip


def strings(node: Any, what: str) -> list[str]:
    count = getattr(node, f"{what}Length")()
    return [getattr(node, what)(i).decode() for i in range(count)]


def read(model: bytes) -> dict[str, Tensor]:
    """The tensors of the published model under our names, all layers."""
    graph = InferenceSession.GetRootAsInferenceSession(model, 0).Model().Graph()
    given: dict[str, NDArray[Any]] = {}
    for i in range(graph.InitializersLength()):
        tensor = graph.Initializers(i)
        if tensor.DataType() in _NUMBERS:
            raw = bytes(tensor.RawDataAsNumpy().tobytes())
            shape = [tensor.Dims(j) for j in range(tensor.DimsLength())]
            array = np.frombuffer(raw, _NUMBERS[tensor.DataType()]).reshape(shape)
            given[tensor.Name().decode()] = array
    found: dict[str, Tensor] = {}

    def keep(name: str, key: str) -> None:
        found[name] = torch.from_numpy(given[key].copy())

    for i in range(graph.NodesLength()):
        node = graph.Nodes(i)
        kind, inputs = node.OpType().decode(), strings(node, "Inputs")
        places = {"MatMulIntegerToFloat": (1, 3, 5, 6), "DynamicQuantizeMatMul": (1, 2, 3, 4)}
        if kind in places:
            output = strings(node, "Outputs")[0].strip("/").replace("/", ".")
            layer, part = output[:8], re.sub(r"\.(MatMul|Add)_output_0$", "", output[9:])
            name = f"{layer}.{_NAMES[part]}"
            weight, scale, zero, bias = (inputs[j] if j < len(inputs) else "" for j in places[kind])
            found[f"{name}.q"] = torch.from_numpy(given[weight].T.copy())
            found[f"{name}.scale"] = torch.from_numpy(given[scale].copy()).reshape(())
            found[f"{name}.zero"] = torch.from_numpy(given[zero].copy()).reshape(())
            if bias:
                keep(f"{name}_bias", bias)
    for index, name in enumerate(("first", "second", "third"), 1):
        found |= on_grid(name, given[f"conv{index}.weight_add_tensor"])
    for name in ("second", "third"):
        keep(f"{name}_bias", f"conv{2 if name == 'second' else 3}.bias")
    found["gain"] = torch.from_numpy(given["onnx::Mul_2080"][:, 0].copy())
    found["offset"] = torch.from_numpy(given["onnx::Add_2081"][:, 0].copy())
    for layer in range(ALL_LAYERS):
        keep(f"layers.{layer}.attention_norm", f"layers.{layer}.input_layernorm.weight")
        keep(f"layers.{layer}.wide_norm", f"layers.{layer}.post_attention_layernorm.weight")
    keep("last_norm", "layer_norm.weight")
    return found


def on_grid(name: str, weight: NDArray[np.float32]) -> dict[str, Tensor]:
    """A convolution's floats lie on a grid of at most 256 steps; which."""
    exact = weight.astype(float)
    values = np.unique(exact)
    step = np.diff(values).min()
    for _ in range(5):
        whole = np.round(exact / step)
        step = (exact * whole).sum() / (whole * whole).sum()
    zero = -whole.min()
    assert whole.max() + zero <= 255, name
    assert np.abs(whole * step - exact).max() < 1e-5 * np.abs(exact).max(), name
    return {
        f"{name}.q": torch.from_numpy((whole + zero).astype(np.uint8)),
        f"{name}.zero": torch.tensor(int(zero), dtype=torch.uint8),
        f"{name}.scale": torch.tensor(step, dtype=torch.float32),
    }


@torch.inference_mode()
def ours(tensors: dict[str, Tensor], wav: Tensor) -> Tensor:
    """Tokens of the last layer, [T, 288], with all layers and GroupNorm as published."""
    network = SpeechNetwork()
    network.layers = torch.nn.ModuleList(Layer() for _ in range(ALL_LAYERS))
    network.load_state_dict({k: v for k, v in tensors.items() if k != "last_norm"})
    heard = torch.tanh(torch.nn.functional.conv1d(wav[None, None], network.first(), stride=64))
    heard = group_norm(heard, 1, network.gain, network.offset, 1e-5)
    heard = torch.nn.functional.gelu(
        torch.nn.functional.conv1d(heard, network.second(), network.second_bias, stride=3)
    )
    heard = torch.nn.functional.gelu(
        torch.nn.functional.conv1d(heard, network.third(), network.third_bias, stride=2)
    ).transpose(1, 2)
    last: Tensor = layer_norm(network.whole(heard), (CHANNELS,), tensors["last_norm"])
    return last[0]


def correlation(a: Tensor, b: Tensor) -> float:
    """Mean over tokens."""
    a, b = a - a.mean(1, keepdim=True), b - b.mean(1, keepdim=True)
    return float(((a * b).sum(1) / (a.norm(dim=1) * b.norm(dim=1))).mean())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("wheel", type=Path)
    parser.add_argument("--export", type=Path)
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks/results/moonshine.json")
    arguments = parser.parse_args()
    with ZipFile(arguments.wheel) as wheel:
        model = wheel.read(MODEL)
    tensors = read(model)
    dropped = {f"layers.{i}" for i in range(LAYERS, ALL_LAYERS)} | {"last_norm"}
    kept = {k: v for k, v in tensors.items() if not k.startswith(tuple(dropped))}
    if arguments.export:
        save_file(kept, arguments.export)
    shipped = load_file(WEIGHTS)
    same = {k: bool(torch.equal(shipped[f"speech.{k}"], v)) for k, v in kept.items()}
    wav = torch.from_numpy(read_audio(SPEECH))[: 16_000 * SECONDS]
    session = onnxruntime.InferenceSession(model)
    asked = {
        "input_values": wav.numpy()[None],
        "attention_mask": np.ones((1, len(wav)), np.int64),
    }
    theirs = torch.from_numpy(session.run(None, asked)[0][0])
    last = ours(tensors, wav)
    report = {
        "machine": describe_machine().as_dict(),
        "wheel": arguments.wheel.name,
        "wheel_sha256": sha256(arguments.wheel.read_bytes()).hexdigest(),
        "model_sha256": sha256(model).hexdigest(),
        "tensors": len(same),
        "tensors_alike": sum(same.values()),
        "last_layer_correlation_with_the_published_program": round(correlation(last, theirs), 5),
        "tokens": len(last),
    }
    arguments.out.write_text(json.dumps(report, indent=1) + "\n")
    print(json.dumps(report, indent=1))
    assert all(same.values()), [k for k, v in same.items() if not v]


if __name__ == "__main__":
    main()
