"""Anthropic's Messages API by its own SDK (the extra `llm`)."""

from collections.abc import AsyncIterator
from typing import Any

import anthropic

from services.recommendations.writers import keys
from services.recommendations.writers.failing import translated
from services.recommendations.writers.models import Model
from services.recommendations.writers.provider import Delta, Limits, Prompt, ProviderError
from services.recommendations.writers.transport import bounded_client

_ADDRESS = "https://api.anthropic.com"


class AnthropicProvider:
    """Asks one model of Anthropic, or of whoever speaks its protocol."""

    def __init__(self, model: Model) -> None:
        self._model = model
        self._http = bounded_client(model.timeout_seconds)

    async def complete(self, prompt: Prompt, limits: Limits) -> AsyncIterator[Delta]:
        """Yield the answer piece by piece, and at its end what it cost."""
        client = anthropic.AsyncAnthropic(
            api_key=keys.read(self._model.key_file),
            base_url=self._model.base_url or _ADDRESS,
            http_client=self._http,
            max_retries=0,
            open_telemetry=False,
        )
        asked: dict[str, Any] = {
            "model": self._model.model,
            "max_tokens": limits.output_tokens,
            "system": prompt.system,
            "messages": [{"role": turn.role, "content": turn.text} for turn in prompt.turns],
        }
        with translated(anthropic):
            input_tokens, usage, ended = None, None, False
            async with await client.messages.create(**asked, stream=True) as stream:
                async for event in stream:
                    match event.type:
                        case "message_start":
                            input_tokens = event.message.usage.input_tokens
                        case "content_block_delta":
                            if event.delta.type == "text_delta":
                                yield event.delta.text
                        case "message_delta":
                            _accept(event.delta.stop_reason)
                            usage = keys.usage(input_tokens, event.usage.output_tokens)
                        case "message_stop":
                            ended = True
            if not ended:
                raise ProviderError("broken")
            if usage is not None:
                yield usage

    async def close(self) -> None:
        """Let go of connections."""
        await self._http.aclose()


def _accept(reason: str | None) -> None:
    """Let pass an answer that its model has finished.

    Raises:
        ProviderError: the model refused to answer, or its answer was cut off.
    """
    if reason == "refusal":
        raise ProviderError("refused")
    if reason not in {"end_turn", "stop_sequence"}:
        raise ProviderError("too_long" if reason == "max_tokens" else "broken")
