"""The emotions: their keys, their names in English and both Chinese sets, and their emoji.

A checkpoint lists its labels in `tokens.txt`, one a line, such as `生气/angry`. Keys are the English names; `<unk>` is
`unknown`. A token that begins with `unuse` takes part in nothing: its logit is masked before the softmax.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


@dataclass(frozen=True)
class Label:
    """One emotion. `zh` is the name that emotape shows; `zh_reference` is the one in the official `tokens.txt`."""

    key: str
    en: str
    zh: str
    zh_reference: str
    emoji: str

    def name(self, language: str = "en") -> str:
        """Return the name to show in `language` ("en" or "zh")."""
        return self.zh if language == "zh" else self.en


OFFICIAL: Final = (
    Label("angry", "Angry", "愤怒", "生气", "😠"),
    Label("disgusted", "Disgusted", "厌恶", "厌恶", "🤢"),
    Label("fearful", "Fearful", "恐惧", "恐惧", "😨"),
    Label("happy", "Happy", "快乐", "开心", "😊"),
    Label("neutral", "Neutral", "中性", "中立", "😐"),
    Label("other", "Other", "其他", "其他", "🤔"),
    Label("sad", "Sad", "悲伤", "难过", "😢"),
    Label("surprised", "Surprised", "惊讶", "吃惊", "😲"),
    Label("unknown", "Unknown", "未知", "<unk>", "❓"),
)
OFFICIAL_KEYS: Final = tuple(label.key for label in OFFICIAL)

_ALIASES: Final = {
    name.casefold(): label
    for label in OFFICIAL
    for name in (label.key, label.en, label.zh, label.zh_reference, f"{label.zh_reference}/{label.key}")
} | {
    # What corpora and older emotion models call the same feelings.
    alias: OFFICIAL[OFFICIAL_KEYS.index(key)]
    for alias, key in {
        "anger": "angry",
        "disgust": "disgusted",
        "fear": "fearful",
        "happiness": "happy",
        "joy": "happy",
        "neutrality": "neutral",
        "sadness": "sad",
        "surprise": "surprised",
        "unk": "unknown",
        "<unk>": "unknown",
    }.items()
}


def find_label(name: str) -> Label | None:
    """Return the official label that `name` means in English or either Chinese set, or None."""
    return _ALIASES.get(name.strip().casefold())


def label_of_token(token: str) -> Label | None:
    """Return the label of one line of `tokens.txt`, or None for an unused token.

    A token outside the official set (a model adapted to other labels) becomes a label of its own, with its Chinese
    name before the slash if it has one.
    """
    token = token.strip()
    if token.startswith("unuse"):
        return None
    known = find_label(token)
    if known is not None:
        return known
    zh, slash, en = token.partition("/")
    key = en if slash else zh
    return Label(key, key, zh, zh, "🏷️")


def named(label: Label, names: Mapping[str, Mapping[str, str]]) -> Label:
    """Return a model's own label with the names that `names` gives to its key: "en", "zh", "emoji".

    Official labels keep theirs.
    """
    given = names.get(label.key)
    if given is None or label.key in OFFICIAL_KEYS:
        return label
    zh = given.get("zh", label.zh)
    return Label(label.key, given.get("en", label.en), zh, label.zh_reference, given.get("emoji", label.emoji))


def official_first(labels: Sequence[Label | None]) -> tuple[Label, ...]:
    """Return the labels of a prediction: the nine official ones in their order, then the model's own."""
    return OFFICIAL + tuple(label for label in labels if label and label.key not in OFFICIAL_KEYS)
