"""The first files of a project: what is found in a folder of images or in a table becomes a small configuration."""
