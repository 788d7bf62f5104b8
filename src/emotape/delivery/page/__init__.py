"""What the web page does and shows, without its framework: `emotape.delivery.ui` puts it on the screen."""
