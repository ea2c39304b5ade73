"""Makes the demo world in a running suite, step by step, and goes on where a broken-off run stopped."""

import json
import secrets
import ssl
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime

import httpx
from rapport.recommendations.v1 import customer_service_pb2, customer_service_pb2_grpc
from rapport.tenant.v1 import tenant_pb2
from rich.progress import Progress

from cli.connections import create_connection
from cli.demo.histories import DemoCustomer, draw_customers, order_rows
from cli.demo.letters import write_letters
from cli.demo.shops import SHOPS, DemoShop
from cli.demo.zendesk import send_letters
from cli.errors import CommandError
from cli.operator import operator_of
from cli.order_import import import_batches, to_batches
from cli.suite.folder import SuiteFolder
from cli.suite.secret_files import write_private
from cli.tenants import create_tenant

CUSTOMERS = 300
"""How many customers a shop has."""


@dataclass
class ShopRecord:
    """How far a shop of the demo world is, and how to use it. Kept in a private file: it holds credentials.

    Attributes:
        slug: the shop's slug.
        name: its name.
        made: when its world was drawn; all of its times hang on it.
        api_key: its API key; empty until the shop exists.
        tenant_id: its id.
        webhook_secret: what its helpdesk signs with.
        webhook_url: where its helpdesk posts to; empty until it is connected.
        orders_imported: whether the purchase histories are in.
        tickets_sent: whether the tickets were sent.
    """

    slug: str
    name: str
    made: str
    api_key: str = ""
    tenant_id: str = ""
    webhook_secret: str = ""
    webhook_url: str = ""
    orders_imported: bool = False
    tickets_sent: bool = False


class DemoWorld:
    """The demo world's record file and the steps that fill it."""

    def __init__(self, folder: SuiteFolder, tell: Callable[[str], None]) -> None:
        self._folder = folder
        self._tell = tell
        self.shops: list[ShopRecord] = []

    async def make(self, https_url: str, ca_file: str) -> dict[str, int]:
        """Make what is missing of both shops; return how many tickets were sent just now, by the shop's slug.

        Raises:
            CommandError: a step was refused.
        """
        self._load()
        sent = {shop.slug: 0 for shop in SHOPS}
        for shop, record in zip(SHOPS, self.shops, strict=True):
            await self._make_shop(shop, record)
            now = datetime.fromisoformat(record.made)
            customers = draw_customers(shop, CUSTOMERS, now)
            if not record.orders_imported:
                self._tell(f"{shop.name}: importing the purchase histories of {len(customers)} customers")
                await self._import(shop, record, customers)
            if not record.tickets_sent:
                letters = write_letters(shop, customers, now)
                self._tell(f"{shop.name}: sending {len(letters)} tickets as signed webhooks through the gateway")
                await self._name(record, [letter.customer for letter in letters])
                async with gateway_client(https_url, ca_file) as client:
                    url = moved(record.webhook_url, https_url)
                    await send_letters(client, url, record.webhook_secret, letters)
                sent[shop.slug] = len(letters)
                record.tickets_sent = True
                self._save()
        return sent

    async def _make_shop(self, shop: DemoShop, record: ShopRecord) -> None:
        if not record.api_key:
            self._tell(f"{shop.name}: creating the shop and its connection to Zendesk")
            tenant, record.api_key = await create_tenant(
                self._folder,
                shop.slug,
                shop.name,
                environment=tenant_pb2.Tenant.ENVIRONMENT_DEMO,
                features={"demo": True},
            )
            record.tenant_id = tenant["id"]
            self._save()
        if not record.webhook_url:
            record.webhook_secret = secrets.token_urlsafe(32)
            made = await create_connection(
                self._folder,
                shop.slug,
                "zendesk",
                {"subdomain": shop.subdomain},
                {"webhook_secret": record.webhook_secret},
                f"{shop.name} on Zendesk",
            )
            record.webhook_url = made["webhook_url"]
            self._save()

    async def _import(self, shop: DemoShop, record: ShopRecord, customers: list[DemoCustomer]) -> None:
        with Progress(disable=True) as quiet:
            await import_batches(self._folder, shop.slug, to_batches(order_rows(shop, customers)), quiet)
        record.orders_imported = True
        self._save()

    async def _name(self, record: ShopRecord, customers: list[DemoCustomer]) -> None:
        """Tell the names of the customers who write."""
        async with operator_of(self._folder) as operator:
            service = operator.stub(customer_service_pb2_grpc.CustomerServiceStub, "recommendations")
            for customer in customers:
                request = customer_service_pb2.SetCustomerContactRequest(
                    customer_id=customer.id,
                    display_name=customer.name,
                    email=f"{customer.name.lower().replace(' ', '.')}.{customer.id[-3:]}@example.com",
                )
                await service.SetCustomerContact(request, metadata=await operator.metadata(record.slug), timeout=30)

    def _load(self) -> None:
        if self._folder.demo.exists():
            found = json.loads(self._folder.demo.read_text(encoding="utf-8"))
            self.shops = [ShopRecord(**record) for record in found["shops"]]
        else:
            made = datetime.now(UTC).isoformat()
            self.shops = [ShopRecord(slug=shop.slug, name=shop.name, made=made) for shop in SHOPS]
            self._save()
        if [record.slug for record in self.shops] != [shop.slug for shop in SHOPS]:
            raise CommandError(f"{self._folder.demo} is of another demo world: remove it.", reason="DEMO_UNKNOWN")

    def _save(self) -> None:
        write_private(self._folder.demo, json.dumps({"shops": [asdict(record) for record in self.shops]}))


def gateway_client(https_url: str, ca_file: str, **headers: str) -> httpx.AsyncClient:
    """Return a client of the gateway that trusts the suite's own certificate authority and uses no proxy."""
    context = ssl.create_default_context(cafile=ca_file)
    return httpx.AsyncClient(base_url=https_url, verify=context, headers=headers, timeout=30, trust_env=False)


def moved(url: str, https_url: str) -> str:
    """Return a webhook address at the gateway's present address: the suite may have come back on another port."""
    return str(httpx.URL(https_url).copy_with(path=httpx.URL(url).path))
