"""The web page on the screen: what stands where, and what happens when a button is pressed.

The only package that knows Gradio. What the page does is in `delivery.page`, its texts in `wording/page.toml`; what a
visitor sees of a result is drawn in the browser, by the scripts in `delivery/page/assets`.
"""

from emotape.delivery.ui.mounting import PageOptions, mount

__all__ = ["PageOptions", "mount"]
