"""The edges: the command, the web page, and the formats in which results leave the product."""
