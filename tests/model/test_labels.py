"""Labels: both Chinese sets, English and aliases mean the same; tokens of any model are read."""

from __future__ import annotations

import pytest

from emotape.model.labels import OFFICIAL, OFFICIAL_KEYS, find_label, label_of_token, official_first


def test_the_official_order() -> None:
    """The order of the official tokens.txt, which is also that of the known page's scores."""
    assert OFFICIAL_KEYS == (
        "angry", "disgusted", "fearful", "happy", "neutral", "other", "sad", "surprised", "unknown",
    )  # fmt: skip


@pytest.mark.parametrize("label", OFFICIAL, ids=OFFICIAL_KEYS)
def test_every_name_of_a_label_finds_it(label: object) -> None:
    """English, the page's Chinese and the reference's Chinese."""
    assert isinstance(label, type(OFFICIAL[0]))
    for name in (
        label.key,
        label.en,
        label.zh,
        label.zh_reference,
        f"{label.zh_reference}/{label.key}",
        label.en.upper(),
    ):
        assert find_label(name) is label
    assert label.name("zh") == label.zh
    assert label.name("en") == label.en
    assert label.emoji


def test_aliases_and_strangers() -> None:
    """Corpora say `anger` and `joy`; an unknown word is no label."""
    assert find_label("anger") is OFFICIAL[0]
    assert find_label(" Joy ") is OFFICIAL[3]
    assert find_label("bored") is None


def test_tokens() -> None:
    """Unused tokens take part in nothing; a model's own labels are kept under their own names."""
    assert label_of_token("unuse_3") is None
    assert label_of_token("<unk>") is OFFICIAL[-1]
    assert label_of_token("开心/happy") is OFFICIAL[3]
    own = label_of_token("无聊/bored")
    assert own is not None
    assert (own.key, own.en, own.zh) == ("bored", "bored", "无聊")
    assert [label.key for label in official_first([own, None, OFFICIAL[3]])] == [*OFFICIAL_KEYS, "bored"]
