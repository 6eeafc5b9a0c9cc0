"""Configuration: composed by Hydra, validated by pydantic, every mistake explained."""
