"""Suggestions: the scores are those that were evaluated, each reason is what counted most, and filters hold."""

import gc
import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from servicekit.embedding import embed
from services.recommendations.products.assortment import VECTOR, Assortment, Offer, of_model, packed_vectors
from services.recommendations.products.model import NOTHING, ProductModel, of_weights, unpack
from services.recommendations.products.neighbours import neighbours
from services.recommendations.products.purchases import Purchases, purchases
from services.recommendations.products.ranking import scores
from services.recommendations.products.suggesting import Bought, Wish, beside, suggest

Line = tuple[int, int, int]
LOG = st.lists(st.tuples(st.integers(0, 5), st.integers(0, 8), st.integers(0, 60)), min_size=1, max_size=60)
UNTIL = 100
EVERYTHING = Wish(limit=50)


def log_of(lines: list[Line]) -> Purchases:
    """Return the purchases of lines of customer, item and day."""
    days = np.array([line[2] for line in lines], dtype=np.float64)
    return purchases([f"c{line[0]}" for line in lines], [f"i{line[1]}" for line in lines], days, UNTIL)


def fitted(lines: list[Line]) -> ProductModel:
    """Return the model of a log, packed and unpacked as it is when it is served."""
    bought = log_of(lines)
    return unpack(of_weights(bought, neighbours(bought)).pack())


def offer(product_id: str, title: str = "Yarn", **fields: object) -> Offer:
    """Return an offer with plain defaults."""
    values = {"listed": True, "ordered": True, "category": "", "in_stock": True, **fields}
    return Offer(product_id, vector=packed_vectors(embed([title]))[0], **values)  # type: ignore[arg-type]


def offered(model: ProductModel, *more: Offer) -> Assortment:
    """Return the assortment in which everything that the model knows is offered, and some more or other offers."""
    return of_model(model).changed([offer(item) for item in model.items], 1).changed(more, 2)


def bought_by(customer: int, lines: list[Line]) -> list[Bought]:
    """Return what a customer bought."""
    days: dict[str, set[int]] = {}
    for who, item, day in lines:
        if who == customer:
            days.setdefault(f"i{item}", set()).add(day)
    return [Bought(item, len(on), max(on)) for item, on in days.items()]


@given(LOG)
def test_what_is_served_is_scored_as_what_was_evaluated(lines: list[Line]) -> None:
    """For every customer of a log the suggestions have the scores of the evaluation, in its order, where above 0."""
    bought, model = log_of(lines), fitted(lines)
    expected = scores(bought, model.matrix(), np.arange(bought.customers.size))
    # Without words in common there are no cold products whose titles count.
    assortment = of_model(model).changed([offer(item, "") for item in model.items], 1)
    for row, customer in enumerate(bought.customers.tolist()):
        found = suggest(model, assortment, bought_by(int(customer[1:]), lines), EVERYTHING, UNTIL)
        own = dict(zip(bought.items.tolist(), expected[row].tolist(), strict=True))
        assert {one.product_id for one in found} == {item for item, score in own.items() if score > 0}
        assert [one.score for one in found] == pytest.approx([own[one.product_id] for one in found], rel=1e-5)
        assert [one.score for one in found] == sorted((one.score for one in found), reverse=True)


@given(LOG)
def test_the_reason_is_the_largest_of_all_that_counts(lines: list[Line]) -> None:
    """No other product that the customer bought says more for a suggestion than the one that is named."""
    model = fitted(lines)
    weights = model.matrix().todense()
    place = {item: number for number, item in enumerate(model.items)}
    own = bought_by(0, lines)
    assortment = of_model(model).changed([offer(item, "") for item in model.items], 1)
    for one in suggest(model, assortment, own, EVERYTHING, UNTIL):
        terms = [float(weights[place[each.product_id], place[one.product_id]]) for each in own]
        if one.kind == "bought_with":
            assert float(weights[place[one.because], place[one.product_id]]) == max(terms)
            assert 0 < one.share <= 1
        elif one.kind == "bought_before":
            assert one.because == one.product_id
            assert one.product_id in {each.product_id for each in own}
        else:
            assert one.kind == "popular"
            assert sum(terms) <= 0


def test_bought_with_names_the_product_that_was_bought_with_it() -> None:
    """Who bought a lamp is offered the bulbs that others bought with lamps, and is told that it is for the lamp."""
    lines = [(who, item, 50) for who in range(30) for item in (0, 1)] + [(who, 2, 50) for who in range(30, 60)]
    model = fitted(lines)
    first = suggest(model, offered(model), [Bought("i0", 1, 90)], Wish(owned="excluded"), UNTIL)[0]
    assert (first.product_id, first.kind, first.because) == ("i1", "bought_with", "i0")


def test_filters_leave_out_what_is_not_wanted() -> None:
    """Stock, categories, own products and named products: each filter takes away what it is about, and only that."""
    lines = [(who, item, 95) for who in range(12) for item in range(6)]
    model = fitted(lines)
    assortment = offered(model, offer("i1", in_stock=False), offer("i2", category="Wool"), offer("i3", category="Silk"))
    own = [Bought("i0", 2, 95)]

    def found(**wish: object) -> set[str]:
        return {one.product_id for one in suggest(model, assortment, own, Wish(limit=50, **wish), UNTIL)}  # type: ignore[arg-type]

    assert found() == {"i0", "i2", "i3", "i4", "i5"}
    assert found(with_out_of_stock=True) == {"i0", "i1", "i2", "i3", "i4", "i5"}
    assert found(categories=("Wool", "Silk", "Felt")) == {"i2", "i3"}
    assert found(categories=("Felt",)) == set()
    assert found(owned="excluded") == {"i2", "i3", "i4", "i5"}
    assert found(owned="only") == {"i0"}
    assert found(excluded=("i0", "i5", "unheard-of")) == {"i2", "i3", "i4"}


def test_who_bought_nothing_is_offered_what_sells() -> None:
    """Without purchases the order is that of last month's buyers, and the reason says so."""
    lines = [(who, 0, 95) for who in range(9)] + [(who, 1, 95) for who in range(5)] + [(who, 2, 5) for who in range(20)]
    model = fitted(lines)
    found = suggest(model, offered(model), [], Wish(), UNTIL)
    assert [one.product_id for one in found] == ["i0", "i1"]
    assert {one.kind for one in found} == {"popular"}


def test_a_catalogue_is_all_that_is_offered() -> None:
    """A shop without one offers what two customers bought; with one, postage and what is no longer sold stay out."""
    lines = [(who, item, 95) for who in range(9) for item in range(3)]
    model = fitted(lines)
    without = of_model(model).changed([offer(f"i{item}", listed=False) for item in (0, 1)], 1)
    assert {one.product_id for one in suggest(model, without, [], Wish(), UNTIL)} == {"i0", "i1"}
    kept = without.changed([offer("i2")], 2)
    assert {one.product_id for one in suggest(model, kept, [], Wish(), UNTIL)} == {"i2"}


def test_a_cold_product_is_found_by_its_name() -> None:
    """What nobody bought yet is offered to those whose products have names like its, and the reason names which."""
    lines = [(who, item, 50) for who in range(20) for item in (0, 1)]
    model = fitted(lines)
    assortment = offered(
        model,
        offer("i0", "Red wool socks"),
        offer("i1", "Garden hose"),
        offer("new-1", "Blue wool socks"),
        offer("new-2", "Long garden hose"),
    )
    bought = [Bought("i0", 1, 90), Bought("i1", 1, 10)]
    found = {one.product_id: one for one in suggest(model, assortment, bought, EVERYTHING, UNTIL)}
    assert (found["new-1"].kind, found["new-1"].because) == ("similar", "i0")
    assert (found["new-2"].kind, found["new-2"].because) == ("similar", "i1")
    assert found["new-1"].score < found["i0"].score


def test_without_a_model_the_catalogue_answers_by_names() -> None:
    """Before the first fit a customer's purchases still find products with like names."""
    assortment = of_model(NOTHING).changed([offer("a", "Oak table"), offer("b", "Oak chair"), offer("c", "Soup")], 1)
    found = suggest(NOTHING, assortment, [Bought("a", 1, 99)], Wish(owned="excluded"), UNTIL)
    assert found[0].product_id == "b"
    assert found[0].because == "a"


def test_diversity_keeps_alike_products_apart() -> None:
    """The best stays first; with diversity the second is not of the same kind, and nothing is offered twice."""
    lines = [(who, item, 95) for who in range(30) for item in range(3)] + [(who, 3, 95) for who in range(20)]
    model = fitted(lines)
    titles = ("Red wool socks", "Blue wool socks", "Green wool socks", "Garden hose")
    assortment = offered(model, *(offer(f"i{item}", title) for item, title in enumerate(titles)))
    plain = [one.product_id for one in suggest(model, assortment, [], Wish(limit=3), UNTIL)]
    apart = [one.product_id for one in suggest(model, assortment, [], Wish(limit=3, diversity=0.7), UNTIL)]
    assert plain == ["i0", "i1", "i2"]
    assert apart[:2] == ["i0", "i3"]
    assert len(set(apart)) == 3


def test_exploration_keeps_places_for_what_few_have_bought() -> None:
    """Two of ten places go to cold products, the same ones for the same seed, others for another, none of the first."""
    lines = [(who, item, 95) for who in range(30) for item in range(12)]
    model = fitted(lines)
    assortment = offered(model, *(offer(f"new-{number}", f"Thing number {number}") for number in range(40)))

    def found(seed: str) -> list[str]:
        wish = Wish(limit=10, exploration=0.2, seed=seed)
        answer = suggest(model, assortment, [Bought("i0", 1, 95)], wish, UNTIL)
        assert [one.explored for one in answer] == [one.product_id.startswith("new-") for one in answer]
        return [one.product_id for one in answer]

    first = found("kim 1")
    assert len(first) == len(set(first)) == 10
    assert sum(item.startswith("new-") for item in first) == 2
    assert not first[0].startswith("new-")
    assert first == found("kim 1")
    assert len({tuple(found(f"kim {day}")) for day in range(5)}) > 1


def test_what_goes_with_a_product_is_what_its_buyers_buy() -> None:
    """Beside a product stand those of its buyers; beside a cold one those with a name like its."""
    lines = [(who, item, 50) for who in range(30) for item in (0, 1)] + [(who, 2, 50) for who in range(30, 60)]
    model = fitted(lines)
    assortment = offered(model, offer("i2", "Oak table"), offer("new", "Oak chair"))
    assert [(one.product_id, one.kind) for one in beside(model, assortment, "i0", Wish())] == [("i1", "bought_with")]
    cold = beside(model, assortment, "new", Wish())
    assert (cold[0].product_id, cold[0].kind, cold[0].because) == ("i2", "similar", "new")
    assert beside(model, assortment, "gone", Wish()) == []


@given(LOG, st.floats(0, 1), st.floats(0, 1), st.integers(1, 12))
def test_settings_never_break_an_answer(lines: list[Line], diversity: float, exploration: float, limit: int) -> None:
    """Whatever the settings, there are at most as many suggestions as asked for, each once, all of them offered."""
    model = fitted(lines)
    assortment = offered(model, offer("new-1", "Blue socks"), offer("new-2", "Socks", in_stock=False))
    wish = Wish(limit=limit, diversity=diversity, exploration=exploration, seed="x")
    found = [one.product_id for one in suggest(model, assortment, bought_by(0, lines), wish, UNTIL)]
    assert len(found) == len(set(found)) <= limit
    assert "new-2" not in found


def test_an_assortment_that_changes_leaves_the_earlier_one_as_it_was() -> None:
    """Whoever still reads the earlier one sees nothing of the change."""
    model = fitted([(0, 0, 1), (1, 0, 1)])
    before = offered(model)
    after = before.changed([offer("i0", in_stock=False), offer("more")], 3)
    assert before.stocked.tolist() == [True]
    assert after.stocked.tolist() == [False, True]
    assert "more" not in before.places


@pytest.mark.parametrize(("count", "categories"), [(100, 3), (500, 500), (2_000, 10), (6_000, 20)])
def test_an_assortment_says_what_it_takes_in_memory(count: int, categories: int) -> None:
    """With all that answering makes it keep, the arrays of cold products among it, it takes what it says or less."""
    vectors = np.random.default_rng(1).integers(-127, 127, (count, VECTOR), dtype=np.int8)
    kinds = [f"category {number}" for number in range(categories)]

    def used() -> Assortment:
        found = of_model(NOTHING).changed(
            [
                Offer(f"product-{number}", True, False, kinds[number % categories], True, vectors[number].tobytes())
                for number in range(count)
            ],
            1,
        )
        suggest(NOTHING, found, [Bought("product-1", 1, 99)], Wish(exploration=0.5), UNTIL)
        return found

    used()
    gc.collect()
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        kept = used()
        gc.collect()
        held = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    # Some kilobytes more or less are the interpreter's own.
    assert 0.95 * held - 32_000 <= kept.size <= 1.3 * held + 32_000
