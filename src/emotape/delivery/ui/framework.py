"""Gradio's own words, in the page's language."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import gradio as gr

from emotape.wording import interface_text

if TYPE_CHECKING:
    from emotape.wording import Language

_WORDS: Final = {
    "upload_text.drop_file": "page_drop",
    "upload_text.click_to_upload": "page_click",
    "common.or": "page_or",
    "common.upload": "page_add",
    "audio.record": "page_record_start",
    "audio.stop": "page_record_stop",
    "audio.pause": "page_record_pause",
    "audio.resume": "page_record_resume",
    "audio.no_microphone": "page_no_microphone",
    "audio.allow_recording_access": "page_microphone_denied",
}
_LOCALES: Final = (
    *("ar", "ca", "ckb", "de", "en", "es", "et", "eu", "fa", "fi", "fr", "he", "hi", "id", "ja", "ko", "lt", "nb"),
    *("nl", "pl", "pt", "pt-BR", "ro", "ru", "sv", "ta", "th", "tr", "uk", "ur", "uz", "zh-CN", "zh-TW"),
)


def framework_words(language: Language) -> gr.I18n:
    """Return Gradio's own words in `language`, whatever language the browser prefers.

    Gradio looks them up under the browser's locale, so that they are given for each that it knows.
    """
    words = {key: interface_text(code, language) for key, code in _WORDS.items()}
    return gr.I18n(**dict.fromkeys(_LOCALES, words))
