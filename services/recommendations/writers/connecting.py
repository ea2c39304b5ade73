"""Which code speaks which protocol. The vendors' SDKs are an extra and take seconds to load: only when needed."""

from services.recommendations.writers.models import Model, ModelsUnusableError
from services.recommendations.writers.provider import Provider


def connect(model: Model) -> Provider:
    """Return what calls a model; it connects at the first call.

    Raises:
        ModelsUnusableError: the vendors' SDKs are not installed.
    """
    try:
        match model.provider:
            case "anthropic":
                from services.recommendations.writers.anthropic import AnthropicProvider

                return AnthropicProvider(model)
            case "openai":
                from services.recommendations.writers.openai import OpenAiProvider

                return OpenAiProvider(model)
    except ImportError as error:
        raise ModelsUnusableError(f"{model.name}: install the extra `llm` (pip install 'rapport[llm]')") from error
