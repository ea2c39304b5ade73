"""OpenAI's Chat Completions API by its own SDK (the extra `llm`): the protocol of local servers as well."""

from collections.abc import AsyncIterator
from typing import Any

import openai

from services.recommendations.writers import keys
from services.recommendations.writers.failing import translated
from services.recommendations.writers.models import Model
from services.recommendations.writers.provider import Delta, Limits, Prompt, ProviderError
from services.recommendations.writers.transport import bounded_client

_ADDRESS = "https://api.openai.com/v1"


class OpenAiProvider:
    """Asks one model of OpenAI, or of a server that speaks its protocol."""

    def __init__(self, model: Model) -> None:
        self._model = model
        self._http = bounded_client(model.timeout_seconds)

    async def complete(self, prompt: Prompt, limits: Limits) -> AsyncIterator[Delta]:
        """Yield the answer piece by piece, and at its end what it cost."""
        client = openai.AsyncOpenAI(
            api_key=keys.read(self._model.key_file),
            base_url=self._model.base_url or _ADDRESS,
            http_client=self._http,
            max_retries=0,
        )
        # Other servers know the older name only.
        longest = "max_tokens" if self._model.base_url else "max_completion_tokens"
        asked: dict[str, Any] = {
            "model": self._model.model,
            longest: limits.output_tokens,
            "messages": [
                {"role": "system", "content": prompt.system},
                *({"role": turn.role, "content": turn.text} for turn in prompt.turns),
            ],
            "stream_options": {"include_usage": True},
        }
        with translated(openai):
            usage, ended = None, False
            async with await client.chat.completions.create(**asked, stream=True) as stream:
                async for chunk in stream:
                    if chunk.usage is not None:
                        usage = keys.usage(chunk.usage.prompt_tokens, chunk.usage.completion_tokens)
                    for choice in chunk.choices[:1]:
                        if choice.delta.refusal:
                            raise ProviderError("refused")
                        if choice.delta.content:
                            yield choice.delta.content
                        if choice.finish_reason is not None:
                            _accept(choice.finish_reason)
                            ended = True
            if not ended:
                raise ProviderError("broken")
            if usage is not None:
                yield usage

    async def close(self) -> None:
        """Let go of connections."""
        await self._http.aclose()


def _accept(reason: str) -> None:
    """Let pass an answer that its model has finished.

    Raises:
        ProviderError: the model refused to answer, or its answer was cut off.
    """
    if reason == "content_filter":
        raise ProviderError("refused")
    if reason != "stop":
        raise ProviderError("too_long" if reason == "length" else "broken")
