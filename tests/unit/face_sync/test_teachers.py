"""Teachers' notations: every sound has its place, and names spell GRID's sentences."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from synctalk.errors import InputError
from synctalk.face_sync.align import Phone, grid_words
from synctalk.face_sync.recordings import labels_of
from synctalk.face_sync.sounds import (
    SOUNDS,
    VISEME_OF,
    from_arpabet,
    from_festival,
    from_ipa,
    from_russian,
)
from synctalk.face_sync.visemes import VISEMES


def sounds(indices: tuple[int, ...]) -> list[str]:
    return [SOUNDS[i] for i in indices]


def shapes(indices: tuple[int, ...]) -> list[str]:
    return [VISEMES[VISEME_OF[i]] for i in indices]


def test_every_sound_is_known_in_every_notation():
    assert sounds(from_ipa("p")) == ["p"]
    assert shapes(from_ipa("p")) == shapes(from_ipa("m")) == ["PP"]
    assert shapes(from_ipa("aɪ")) == ["aa", "I"]
    assert shapes(from_ipa("tʃ")) == ["DD", "CH"]
    assert sounds(from_ipa("ˈuː")) == ["u"]
    assert from_ipa("ç") == from_ipa("x")
    assert sounds(from_ipa("")) == sounds(from_ipa("_:")) == ["sil"]
    assert from_ipa("?") == ()
    assert sounds(from_arpabet("aw")) == ["a", "ʊ"]
    assert sounds(from_arpabet("pau")) == ["sil"]
    assert sounds(from_festival("a1")) == sounds(from_festival("a:")) == ["a"]
    assert sounds(from_festival("tS")) == ["t", "ʃ"]
    assert sounds(from_russian("mm")) == sounds(from_russian("m")) == ["m"]
    assert sounds(from_russian("aa")) == ["a"]
    assert from_festival("??") == from_arpabet("??") == from_russian("??") == ()


def test_a_clip_s_name_spells_its_sentence():
    assert grid_words(Path("bbal8p.mpg")) == "bin blue at l eight please"
    assert grid_words(Path("id2_vcd_swwp2s.mpg")) == "set white with p two soon"
    with pytest.raises(InputError):
        grid_words(Path("anchor_71s_512.mp4"))


def test_labels_cover_the_sounds_and_split_diphthongs():
    labels = labels_of([Phone("pau", 0.0, 0.2), Phone("b", 0.2, 0.3), Phone("ay", 0.3, 0.5)], 60)
    expected = [("sil", 20), ("b", 10), ("a", 10), ("ɪ", 10), ("sil", 10)]
    wanted = torch.tensor([SOUNDS.index(name) for name, count in expected for _ in range(count)])
    assert torch.equal(labels, wanted)
    assert labels_of([], 60).numel() == 0
