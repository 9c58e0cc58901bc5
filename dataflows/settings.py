"""Settings: where a pipeline runs. What it computes stands in its definition, never here.

A value comes from, first found: a command's flag, ``NOSKEW_<NAME>`` in the environment, the stack
that ``noskew stack up`` started from this directory, the default.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import BeforeValidator, Field, ValidationError
from pydantic_settings import (
    BaseSettings,
    InitSettingsSource,
    SettingsConfigDict,
)

from noskew.dataflows.errors import UsageError

if TYPE_CHECKING:
    from pydantic_settings import PydanticBaseSettingsSource

STACK_DIR = Path(".noskew/stack")
"""Where ``noskew stack`` keeps its state, relative to the working directory."""


def _or_none(value: object) -> object:
    return None if isinstance(value, str) and value.lower() == "none" else value


class Settings(BaseSettings):
    """Settings of one process. Field ``x_y`` is flag ``--x-y`` and variable ``NOSKEW_X_Y``."""

    model_config = SettingsConfigDict(env_prefix="NOSKEW_", frozen=True, extra="forbid")

    brokers: str = Field("127.0.0.1:9092", description="Kafka bootstrap servers.")
    registry: str = Field(
        "http://127.0.0.1:8081/apis/ccompat/v7", description="Schema registry address."
    )
    redis: Annotated[str | None, BeforeValidator(_or_none)] = Field(
        "redis://127.0.0.1:6379/0", description="Redis address; 'none' writes no rows."
    )
    redis_namespace: str = Field("noskew", description="First part of every Redis key.")
    redis_flush_s: float = Field(
        0.1, gt=0, le=60, description="An entity's row is written at most once in this time."
    )
    state_dir: Path = Field(
        Path(".noskew/state"), description="Lock and schema cache of this process."
    )
    model: Annotated[Path | None, BeforeValidator(_or_none)] = Field(
        Path("bundle"), description="Directory of the model bundle; 'none' computes no scores."
    )
    align_wait_s: Annotated[float | None, BeforeValidator(_or_none)] = Field(
        1.0,
        ge=0,
        description="How long a silent partition that has unread records is waited for; "
        "'none' waits without limit (canonical order demanded).",
    )
    origin: str = Field(
        "earliest",
        description="First start only: 'earliest' or an ISO time (Kafka's record timestamp) from "
        "which events build state.",
    )
    score_from: str = Field(
        "origin",
        description="First start only: 'origin', 'now' or an ISO time from which events are "
        "scored; earlier ones build state only.",
    )
    vectors: bool = Field(default=True, description="Put the vector into each score record.")
    threads: int = Field(1, ge=1, le=64, description="Threads LightGBM may use.")

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003  # pydantic's signature
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003  # pydantic's signature
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Rank the sources: flags, environment, the local stack."""
        return (init_settings, env_settings, InitSettingsSource(settings_cls, _local_stack()))


def settings(**flags: Any) -> Settings:
    """Return the settings in force; a flag that is None was not given.

    Raises UsageError naming each wrong setting, its value and what is expected.
    """
    try:
        return Settings(**{name: value for name, value in flags.items() if value is not None})
    except ValidationError as error:
        lines = [
            f"setting {'.'.join(map(str, one['loc']))} = {one.get('input')!r}: {one['msg']}"
            for one in error.errors()
        ]
        raise UsageError("; ".join(lines)) from error


def _local_stack() -> dict[str, Any]:
    """Return the addresses of the stack started from this directory, if one is recorded."""
    path = STACK_DIR / "state.json"
    try:
        found = json.loads(path.read_text())
        return {name: found[name] for name in ("brokers", "registry", "redis")}
    except (OSError, ValueError, KeyError, TypeError):
        return {}
