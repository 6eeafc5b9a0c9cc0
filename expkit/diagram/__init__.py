"""The network as a picture: what is drawn, where it stands, and the SVG file."""
