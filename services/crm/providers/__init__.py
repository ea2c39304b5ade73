"""The providers that the service knows: a new one is a module beside this file and a line in the table."""

from types import MappingProxyType

from services.crm.errors import ProviderUnknownError
from services.crm.providers.freshdesk import FRESHDESK
from services.crm.providers.gorgias import GORGIAS
from services.crm.providers.helpscout import HELPSCOUT
from services.crm.providers.helpshift import HELPSHIFT
from services.crm.providers.hubspot import HUBSPOT
from services.crm.providers.intercom import INTERCOM
from services.crm.providers.provider import Provider
from services.crm.providers.salesforce import SALESFORCE
from services.crm.providers.shopify import SHOPIFY
from services.crm.providers.standard import STANDARD
from services.crm.providers.zendesk import ZENDESK

_ALL: tuple[Provider, ...] = (
    FRESHDESK,
    GORGIAS,
    HELPSCOUT,
    HELPSHIFT,
    HUBSPOT,
    INTERCOM,
    SALESFORCE,
    SHOPIFY,
    STANDARD,
    ZENDESK,
)

PROVIDERS: MappingProxyType[str, Provider] = MappingProxyType({provider.name: provider for provider in _ALL})
"""Every provider by its name."""


def provider_named(name: str) -> Provider:
    """Return the provider.

    Raises:
        ProviderUnknownError: there is none of that name.
    """
    provider = PROVIDERS.get(name)
    if provider is None:
        raise ProviderUnknownError("Unknown provider.", metadata={"provider": name})
    return provider
