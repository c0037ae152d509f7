"""The audio encoder: timing, chunking, streaming, and what its posteriors know."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from synctalk.errors import InputError, MissingModelError
from synctalk.face_sync import LAYOUT, VISEMES, AudioVisualEncoder, EncoderStream, measure
from synctalk.face_sync.augment import features_of_strangers
from synctalk.face_sync.speech_network import Past, turn, turned
from synctalk.face_sync.visemes import BILABIAL, SILENCE
from synctalk.media import read_audio

torch.set_num_threads(1)


@pytest.fixture(scope="module")
def encoder() -> AudioVisualEncoder:
    return AudioVisualEncoder.pretrained()


@pytest.fixture(scope="module")
def narration(shared_data: Path) -> Tensor:
    return torch.from_numpy(read_audio(shared_data / "audio" / "narrative_clean.wav"))


def noise(seconds: float, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return 0.1 * torch.randn(int(16000 * seconds), generator=generator)


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("piece", [160, 1000, 20000])
def test_a_stream_gives_the_rows_of_the_whole_file(encoder, causal, piece):
    wav, stats = noise(2.0), measure(noise(2.0))
    stream = EncoderStream(encoder, causal=causal, stats=stats)
    rows = [stream.push(part) for part in wav.split(piece)]
    rows.append(stream.finish(55))
    whole = encoder.encode(wav, 55, causal=causal, stats=stats)
    assert whole.shape == (55, encoder.dim)
    torch.testing.assert_close(torch.cat(rows), whole, atol=1e-3, rtol=0)


@pytest.mark.parametrize("causal", [False, True])
def test_long_recordings_come_in_blocks_that_no_chunking_changes(encoder, causal):
    wav, stats = noise(24.0), measure(noise(24.0))
    stream = EncoderStream(encoder, causal=causal, stats=stats)
    rows = [stream.push(part) for part in wav.split(48_000)]
    early = sum(len(part) for part in rows)
    assert early == (599 if causal else 498)  # two blocks of 249 frames
    rows.append(stream.finish(620))
    whole = encoder.encode(wav, 620, causal=causal, stats=stats)
    torch.testing.assert_close(torch.cat(rows), whole, atol=1e-3, rtol=0)


@pytest.mark.parametrize(("causal", "frame"), [(False, 249), (True, 31)])
def test_rows_hear_exactly_the_documented_look_ahead(encoder, causal, frame):
    wav, stats = noise(24.5), measure(noise(24.5))
    ahead_ms = encoder.causal_look_ahead_ms if causal else encoder.look_ahead_ms
    heard = round(16000 * ((frame + 0.5) / 25 + ahead_ms / 1000))
    changed, barely = wav.clone(), wav.clone()
    changed[heard:] = 0.0
    barely[heard - 8 :] = 0.0
    before, after, other = (
        encoder.encode(w, 600, causal=causal, stats=stats) for w in (wav, changed, barely)
    )
    last = frame + (1 if causal else 249)  # a block is heard whole
    torch.testing.assert_close(after[:last], before[:last], atol=2e-4, rtol=0)
    assert float((after[last:] - before[last:]).abs().max()) > 0.01
    assert float((other[frame] - before[frame]).abs().max()) > 1e-4


def test_look_ahead_stays_in_its_budget(encoder):
    assert 11_000 <= encoder.look_ahead_ms <= 13_000
    assert encoder.causal_look_ahead_ms < 45


def test_streams_together_are_each_heard_alone(encoder):
    first, second = 0.1 * noise(1.0, 1)[None], 0.1 * noise(1.0, 2)[None]
    past = encoder.speech.silent_past()
    alone = [encoder.listen(wav, past) for wav in (first, second)]
    both, after = encoder.listen(torch.cat([first, second]), Past.joined([past, past]))
    for index, (tokens, own) in enumerate(alone):
        torch.testing.assert_close(both[index], tokens[0], atol=1e-3, rtol=0)
        torch.testing.assert_close(after.split()[index].keys, own.keys, atol=1e-3, rtol=0)


def test_places_stay_exact_seven_hours_on():
    generator = torch.Generator().manual_seed(0)
    query, key = torch.randn(2, 1, 8, 1, 36, generator=generator)

    def match(later: int) -> Tensor:
        return (
            turned(query, turn(torch.tensor([[later + 5]])))
            * turned(key, turn(torch.tensor([[later + 3]])))
        ).sum(-1)

    torch.testing.assert_close(match(1_000_000), match(0), atol=1e-4, rtol=0)


def test_a_burst_appears_in_the_frame_that_shows_it(encoder):
    wav = torch.zeros(16000 * 2)
    wav[16000 : 16000 + 640] = noise(0.04)  # the 40 ms of frame 25
    rows = encoder.encode(wav, 50)
    assert int(rows[:, LAYOUT.level].argmax()) == 25
    assert int(rows[:, LAYOUT.mel].mean(1).argmax()) == 25


def test_posteriors_are_probabilities(encoder, narration):
    visemes = encoder.encode(narration, 150)[:, LAYOUT.visemes]
    assert visemes.shape[1] == len(VISEMES)
    torch.testing.assert_close(visemes.sum(1), torch.ones(150), atol=1e-4, rtol=0)


def test_silence_is_heard_as_silence(encoder, narration):
    wav = torch.cat([narration[:48000], torch.zeros(32000)])
    rows = encoder.encode(wav, 125)
    assert float(rows[80:120, LAYOUT.visemes][:, SILENCE].min()) > 0.5
    alone = encoder.encode(torch.zeros(32000), 50)
    assert bool(alone.isfinite().all())


def test_loudness_does_not_change_the_features(encoder, narration):
    loud = encoder.encode(narration, 150)
    quiet = encoder.encode(narration * 0.03, 150)
    speaking = loud[:, LAYOUT.level] > -0.4
    difference = (loud - quiet)[speaking][:, LAYOUT.visemes].abs()
    assert float(difference.mean()) < 0.01


@pytest.mark.parametrize(("causal", "least"), [(False, 0.45), (True, 0.35)])  # chance is 0.1
def test_closed_lips_are_found_in_a_voice_never_trained_on(encoder, shared_data, causal, least):
    folder = shared_data / "virtual" / "subject_a"
    truth = np.load(folder / "truth.npz")
    closed = truth["lip_closure_env"] > 0.5
    open_ = truth["lip_closure_env"] < 0.1
    wav = torch.from_numpy(read_audio(folder / "train.wav"))
    rows = encoder.encode(wav, len(closed), causal=causal)
    posterior = rows[:, LAYOUT.visemes][:, BILABIAL].numpy()
    recall = (posterior[closed] > np.quantile(posterior[open_], 0.9)).mean()
    assert recall > least


def test_time_beyond_the_audio_is_silence(encoder):
    wav = noise(1.0)
    rows = encoder.encode(wav, 100)
    assert bool(rows.isfinite().all())
    assert float(rows[40:, LAYOUT.level].max()) == pytest.approx(-1.0)


@pytest.mark.parametrize(
    "wav", [torch.zeros(2, 100), torch.zeros(100, dtype=torch.int16), torch.full((9,), torch.nan)]
)
def test_what_is_not_a_waveform_is_refused(encoder, wav):
    with pytest.raises(InputError) as caught:
        encoder.encode(wav, 10)
    assert caught.value.reason == "BAD_WAVEFORM"


def test_missing_weights_are_named(tmp_path):
    with pytest.raises(MissingModelError, match="nowhere"):
        AudioVisualEncoder.pretrained(tmp_path / "nowhere.safetensors")


def test_strangers_say_the_same_otherwise(encoder, narration):
    clean, *strangers = features_of_strangers(encoder, narration[:64000], 100)
    torch.testing.assert_close(clean, encoder.encode(narration[:64000], 100))
    found = clean[:, LAYOUT.visemes].argmax(1)
    assert len(strangers) == 7
    for rows in strangers:
        assert rows.shape == clean.shape
        assert not torch.allclose(rows, clean, atol=0.1)
        agreed = (rows[:, LAYOUT.visemes].argmax(1) == found).float().mean()
        assert agreed > 0.4  # of fifteen shapes, in noise of 5 to 25 dB too


def test_the_shipped_weights_are_small():
    from safetensors.torch import load_file

    from synctalk.face_sync.encoder import WEIGHTS

    assert WEIGHTS.stat().st_size <= 6e6
    dtypes = {name: t.dtype for name, t in load_file(WEIGHTS).items()}
    assert {t for name, t in dtypes.items() if not name.startswith("speech.")} == {torch.float16}
    assert dtypes["speech.second.q"] == torch.uint8  # as published


def test_the_version_is_that_of_the_shipped_weights():
    from hashlib import sha256

    from synctalk.face_sync.encoder import ENCODER_VERSION, WEIGHTS

    assert sha256(WEIGHTS.read_bytes()).hexdigest().startswith(ENCODER_VERSION)
