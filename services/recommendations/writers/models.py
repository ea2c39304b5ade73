"""The language models that the operator lets tenants choose from: a file in YAML, read once when a process starts."""

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from services.recommendations.writers.prices import Prices, micros

_LONGEST_FILE = 100_000
_Price = Annotated[Decimal, Field(ge=0, le=100_000)]


class ModelsUnusableError(ValueError):
    """The file of language models cannot be used; the text names every fault by its place, and no secret."""


@dataclass(frozen=True, slots=True)
class Model:
    """A language model that tenants can choose.

    Attributes:
        name: by which it is chosen.
        provider: whose protocol it speaks.
        model: what the provider calls it.
        base_url: where it is asked; empty means at the vendor's own address.
        key_file: the file with the credential, read for each call so that it can be exchanged; None sends none.
        prices: what it costs.
        timeout_seconds: how long one call may take, from the first byte to the last.
        output_tokens: the most that an answer may hold.
    """

    name: str
    provider: Literal["anthropic", "openai"]
    model: str
    base_url: str
    key_file: Path | None
    prices: Prices
    timeout_seconds: float
    output_tokens: int

    @property
    def source(self) -> str:
        """Where drafts of this model come from, as every answer says it."""
        return f"model:{self.provider}/{self.model}"


@dataclass(frozen=True, slots=True)
class Models:
    """The configured models by their names, the first one first, and the currency of all prices."""

    currency: str
    by_name: Mapping[str, Model]


NONE = Models("", {})
"""Nothing is configured, so nothing is ever asked: what holds unless the operator says otherwise."""


class _Entry(BaseModel):
    """A model as it stands in the file."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(pattern=r"^[a-z0-9]([a-z0-9.-]{0,62}[a-z0-9])?$")
    provider: Literal["anthropic", "openai"]
    model: str = Field(min_length=1, max_length=200)
    base_url: str = Field(default="", max_length=500)
    key_file: Path | None = None
    input_price: _Price
    output_price: _Price
    timeout_seconds: float = Field(default=8.0, gt=0, le=60)
    output_tokens: int = Field(default=1000, ge=100, le=8000)

    @field_validator("base_url")
    @classmethod
    def _is_an_address(cls, value: str) -> str:
        parts = urlsplit(value)
        if value and (parts.scheme not in {"http", "https"} or not parts.hostname):
            raise ValueError("must be an address such as https://models.internal/v1")
        if parts.username or parts.password:
            raise ValueError("must not hold a credential: that belongs in key_file")
        return value


class _File(BaseModel):
    """The file."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    currency: str = Field(pattern=r"^[A-Z]{3}$")
    models: list[_Entry] = Field(min_length=1, max_length=50)

    @field_validator("models")
    @classmethod
    def _names_differ(cls, value: list[_Entry]) -> list[_Entry]:
        names = [entry.name for entry in value]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"these names stand there twice: {', '.join(twice)}")
        return value


def load(path: Path | None) -> Models:
    """Return the models that a file configures; without a file there are none.

    Raises:
        ModelsUnusableError: the file cannot be read or used.
    """
    if path is None:
        return NONE
    try:
        with path.open("rb") as file:
            text = file.read(_LONGEST_FILE + 1)
        if len(text) > _LONGEST_FILE:
            raise ModelsUnusableError(f"{path}: the file is longer than {_LONGEST_FILE} bytes")
        found = _File.model_validate(yaml.safe_load(text))
    except OSError as error:
        raise ModelsUnusableError(f"{path}: {error.strerror}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ModelsUnusableError(f"{path}: this is not YAML") from error
    except ValidationError as error:
        faults = (f"{'.'.join(map(str, one['loc'])) or 'file'}: {one['msg']}" for one in error.errors())
        raise ModelsUnusableError(f"{path}: {'; '.join(faults)}") from error
    return Models(found.currency, {entry.name: _model(entry, path.parent) for entry in found.models})


def _model(entry: _Entry, folder: Path) -> Model:
    return Model(
        entry.name,
        entry.provider,
        entry.model,
        entry.base_url,
        folder / entry.key_file if entry.key_file else None,
        Prices(micros(entry.input_price), micros(entry.output_price)),
        entry.timeout_seconds,
        entry.output_tokens,
    )
