"""The sections of the configuration, a module each."""
