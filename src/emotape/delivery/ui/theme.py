"""How the page looks where Gradio draws it: its soft theme, with the contrast that readers need."""

from __future__ import annotations

from typing import Final

import gradio as gr

_FONTS: Final = ("system-ui", "PingFang SC", "Microsoft YaHei", "Noto Sans CJK SC", "sans-serif")
_QUIET: Final = "#5b6171"
_QUIET_DARK: Final = "#a6adbd"


def theme() -> gr.themes.Base:
    """Return the theme. Every text has a contrast of at least 4.5 : 1 to what is behind it."""
    return gr.themes.Soft(primary_hue="indigo", font=_FONTS, font_mono=("ui-monospace", "monospace")).set(
        color_accent="*primary_600",
        color_accent_soft_dark="*neutral_800",
        body_background_fill="*neutral_50",
        body_text_color_subdued=_QUIET,
        body_text_color_subdued_dark=_QUIET_DARK,
        block_info_text_color=_QUIET,
        block_info_text_color_dark=_QUIET_DARK,
        block_label_text_color="*primary_700",
        block_label_text_color_dark="*primary_200",
        block_title_text_color="*primary_700",
        block_title_text_color_dark="*primary_200",
        block_label_background_fill_dark="*neutral_700",
        block_title_background_fill_dark="*neutral_700",
        button_primary_background_fill="*primary_600",
        button_primary_background_fill_hover="*primary_700",
        button_primary_background_fill_dark="*primary_600",
        button_primary_background_fill_hover_dark="*primary_700",
        button_cancel_text_color="white",
        button_cancel_text_color_dark="white",
        button_cancel_background_fill="#b42328",
        button_cancel_background_fill_hover="#97181d",
        button_cancel_background_fill_dark="#b42328",
        checkbox_label_background_fill_selected="*primary_600",
        checkbox_label_background_fill_selected_dark="*primary_600",
        checkbox_label_text_color_selected="white",
        link_text_color="*primary_700",
        link_text_color_dark="*primary_300",
        link_text_color_hover_dark="*primary_200",
        link_text_color_visited="*primary_700",
        link_text_color_visited_dark="*primary_300",
    )
