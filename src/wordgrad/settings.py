"""What the environment says. Keys are secrets: they print as stars, and only engines unwrap them."""

from __future__ import annotations

from pydantic import AliasChoices, Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict


class Settings(BaseSettings):
    """Read anew each time: a process may change its environment. A variable that is empty is one that is not set."""

    model_config = SettingsConfigDict(extra="ignore", frozen=True, env_ignore_empty=True)

    openai_api_key: SecretStr | None = None
    anthropic_api_key: SecretStr | None = None
    api_key: SecretStr | None = Field(default=None, validation_alias=AliasChoices("WORDGRAD_API_KEY"))
    """For servers named by address; many on this machine need none."""
    engine: str | None = Field(default=None, validation_alias=AliasChoices("WORDGRAD_ENGINE"))
    """What commands use where nothing is named."""
    ollama_host: str = "127.0.0.1:11434"
    """Where a running Ollama is looked for, in any form that Ollama itself takes."""
