"""The step of a run that moves purchase histories: one import for each shop, all of them filled in one walk."""

from collections.abc import Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field

import grpc
from rapport.recommendations.v1 import order_pb2, order_service_pb2

from cli.errors import CommandError
from cli.migration.mapping import WORDS, Rules
from cli.migration.moving import MovingOrder, moving_orders
from cli.migration.ownership import Owners
from cli.migration.source import Source
from cli.migration.state import State
from cli.migration.target import Target
from cli.order_import import to_batches

_BATCH_LINES = 1000
_BATCH_BYTES = 1_200_000
_COMMIT_SECONDS = 60
_COMMITTING = order_pb2.OrderImport.STATE_COMMITTING
_WALKS = 3
"""How often orders are walked through when the source changed under a killed run."""

Advance = Callable[[str, int], None]
"""Is told what was done, and how much of it."""


@dataclass
class _Import:
    """The import of one shop: its id, how many batches it holds, up to which order, and what waits to be sent.

    `kept` tells whether the state says how far it is, so that a run that was killed goes on with it.
    """

    import_id: str
    batches: int
    last: str
    lines: int
    waiting: list[order_pb2.OrderLine] = field(default_factory=list)
    orders: int = 0
    bytes: int = 0
    newest: str = ""
    kept: bool = False


class _OtherLinesError(Exception):
    """A shop's import holds other lines than were sent: its source changed between a killed run and this one."""

    def __init__(self, slug: str) -> None:
        super().__init__(slug)
        self.slug = slug


class OrderMoving:
    """Moves the orders of all shops of a plan."""

    def __init__(self, slugs: Sequence[str], rules: Rules, target: Target, state: State, advance: Advance) -> None:
        self._slugs = slugs
        self._rules = rules
        self._target = target
        self._state = state
        self._advance = advance

    async def move(self, source: Source, owners: Owners) -> None:
        """Move all orders; a run that was killed goes on behind the last batch that each shop's import holds.

        Raises:
            CommandError: an import holds other lines than were sent, also after it was begun anew.
        """
        if self._state.get("orders") == "done" or "combined_sales" not in source.places:
            return
        for _ in range(_WALKS):
            imports = {slug: await self._begun(slug) for slug in self._slugs if not self._committed(slug)}
            try:
                await self._walk(source, owners, imports)
            except _OtherLinesError as error:
                self._begin_anew(error.slug)
                continue
            self._state.put("orders", "done")
            return
        raise CommandError("The source's orders change too fast to be moved: try again later.", reason="ORDERS_CHANGE")

    async def once_more(self, source: Source, owners: Owners) -> None:
        """Import all orders again, for what changed since; Rapport leaves those alone that are as it has them."""
        if "combined_sales" in source.places:
            await self._walk(source, owners, {slug: await self._opened(slug) for slug in self._slugs})

    async def _walk(self, source: Source, owners: Owners, imports: dict[str, _Import]) -> None:
        after = min((one.last for one in imports.values()), default="")
        async with aclosing(moving_orders(source, owners, self._rules, after)) as pages:
            async for page in pages:
                for order in page:
                    await self._take(imports, order)
                self._advance("orders", len(page))
        for slug, one in imports.items():
            await self._flush(slug, one)
            if one.lines:
                request = order_service_pb2.CommitOrderImportRequest(
                    import_id=one.import_id, expected_line_count=one.lines
                )
                await self._commit(slug, request)
            if one.kept:
                self._state.put(f"orders:{slug}", "done")

    def _begin_anew(self, slug: str) -> None:
        """Give an import up: it is dropped a day later, and nothing of it was visible."""
        with self._state.together():
            self._state.forget(f"orders:{slug}")
            for what in ("orders", "order_lines"):
                self._state.count(slug, what, -self._state.counts().get(slug, {}).get(what, 0))

    def _committed(self, slug: str) -> bool:
        return self._state.get(f"orders:{slug}") == "done"

    async def _begun(self, slug: str) -> _Import:
        """Return a shop's import as far as it is; one that was left for more than a day is begun anew."""
        if kept := self._state.get(f"orders:{slug}"):
            import_id, batches, lines, last = kept.split("\t")
            request = order_service_pb2.GetOrderImportRequest(import_id=import_id)
            try:
                await self._target.call(slug, self._target.orders.GetOrderImport, request, 30)
            except grpc.aio.AioRpcError as error:
                if error.code() is not grpc.StatusCode.NOT_FOUND:
                    raise
                self._begin_anew(slug)
            else:
                return _Import(import_id, int(batches), last, int(lines), kept=True)
        one = await self._opened(slug, kept=True)
        self._keep(slug, one)
        return one

    async def _opened(self, slug: str, *, kept: bool = False) -> _Import:
        request = order_service_pb2.CreateOrderImportRequest()
        opened = await self._target.call(slug, self._target.orders.CreateOrderImport, request)
        return _Import(opened.import_id, 0, "", 0, kept=kept)

    def _keep(self, slug: str, one: _Import) -> None:
        self._state.put(f"orders:{slug}", f"{one.import_id}\t{one.batches}\t{one.lines}\t{one.last}")

    async def _take(self, imports: dict[str, _Import], order: MovingOrder) -> None:
        slug = order.placed.slug
        if not slug or slug not in self._slugs:
            self._state.refuse("orders", order.source.id, slug, WORDS[order.placed.reason])
            return
        if order.problem:
            self._state.refuse("orders", order.source.id, slug, order.problem)
            return
        one = imports.get(slug)
        if one is None or order.source.id.encode() <= one.last.encode():
            return
        self._state.accept("orders", order.source.id)
        lines = [line for batch in to_batches(order.lines) for line in batch]
        size = sum(line.ByteSize() for line in lines)
        if one.waiting and (one.bytes + size > _BATCH_BYTES or len(one.waiting) + len(lines) > _BATCH_LINES):
            await self._flush(slug, one)
        one.waiting += lines
        one.bytes += size
        one.newest = order.source.id
        one.orders += 1

    async def _flush(self, slug: str, one: _Import) -> None:
        """Send what waits; the same orders always make the same batch, and a batch that is known is not taken twice."""
        if not one.waiting:
            return
        number = one.batches + 1
        request = order_service_pb2.AppendOrderLinesRequest(
            import_id=one.import_id, batch_number=number, lines=one.waiting
        )
        answer = await self._target.call(slug, self._target.orders.AppendOrderLines, request)
        if answer.line_count != one.lines + len(one.waiting):
            raise _OtherLinesError(slug)
        one.batches, one.lines, one.last = number, one.lines + len(one.waiting), one.newest
        if one.kept:
            with self._state.together():
                self._keep(slug, one)
                self._state.count(slug, "orders", one.orders)
                self._state.count(slug, "order_lines", len(one.waiting))
        one.waiting, one.orders, one.bytes = [], 0, 0

    async def _commit(self, slug: str, request: order_service_pb2.CommitOrderImportRequest) -> None:
        while True:
            answer = await self._target.call(slug, self._target.orders.CommitOrderImport, request, _COMMIT_SECONDS)
            if answer.state != _COMMITTING:
                return
