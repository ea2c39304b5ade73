"""A shop's own keyword rules: what matches, what they may do to a ticket, and the API to change them."""

import time
from typing import Any
from uuid import uuid4

import grpc
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rapport.tickets.v1 import language_service_pb2

from services.tickets.errors import KeywordRulesInvalidError
from services.tickets.keyword_rules import DEFAULT, FLOORS, KeywordRule, KeywordRules, applied, checked, matching
from services.tickets.language import Signals
from tests.tickets.calls import refusal
from tests.tickets.conftest import Agent

MATCHES = {
    "Please cancel my order": ["cancel_request"],
    "I'd like to cancel": ["cancel_request"],
    "I do NOT want to cancel my order": [],
    "Nothing is broken, thanks": [],
    "the seal is unbroken": [],
    "I didn\u2019t receive it": ["missing_items"],
    "please ship to a different address": ["address_change"],
    "it came broken AND an item is missing, I am still waiting": ["damaged_product", "delayed_order"],
    "> it is broken\nthanks": [],
}


@pytest.mark.parametrize(("text", "names"), MATCHES.items(), ids=list(MATCHES))
def test_the_default_rules_match_words_that_are_not_denied(text: str, names: list[str]) -> None:
    """The predecessor's categories, without its mistakes about negation, word boundaries and curly quotes."""
    assert list(matching(DEFAULT, "", text)) == names


def test_the_default_rules_would_be_accepted_as_anybodys() -> None:
    """What a shop begins with can be sent back as it is."""
    again = checked(DEFAULT.rules, DEFAULT.member_tags, 0)
    assert again == DEFAULT


@pytest.mark.parametrize("tag", ["LCC_Member", "lcc_member", "LCC Member", "Crafter Club", "crafter club"])
def test_a_member_is_known_by_the_whole_tag(tag: str) -> None:
    """Capitals and underscores make no difference; a tag that only holds the letters is another tag."""
    signals = Signals(has_text=True)
    assert applied(DEFAULT, signals, "", ["hello"], [tag]).rules == ("member",)
    assert applied(DEFAULT, signals, "", ["hello"], [f"ex {tag}", "silcc"]).rules == ()


levels = st.sampled_from(["high", "urgent"])
words = st.text("abc", min_size=1, max_size=3)


@given(
    st.lists(st.tuples(words, levels), max_size=5, unique_by=lambda rule: rule[0]),
    st.lists(words, max_size=6),
    st.floats(0, 1),
)
def test_rules_never_lower_a_ticket_and_raise_it_to_their_level_at_most(
    rules: list[tuple[str, str]], text: list[str], urgency: float
) -> None:
    """Whatever the rules and the text, the urgency is the greater of what it was and the highest level that matches."""
    kept = checked([KeywordRule(f"r{place}", (word,), level) for place, (word, level) in enumerate(rules)], [], 1)
    after = applied(kept, Signals(urgency=urgency), "", [" ".join(text)], [])
    assert after.urgency == max([urgency, *(FLOORS[level] for word, level in rules if word in text)])


@pytest.mark.parametrize(
    ("rule", "field"),
    [
        (KeywordRule("Gift", ("a",), "high"), "rules[0].name"),
        (KeywordRule("member", ("a",), "high"), "rules[0].name"),
        (KeywordRule("gift", ("a",), "low"), "rules[0].level"),
        (KeywordRule("gift", (), "high"), "rules[0].phrases"),
        (KeywordRule("gift", ("!!!",), "high"), "rules[0].phrases"),
        (KeywordRule("gift", ("_ a",), "high"), "rules[0].phrases"),
        (KeywordRule("gift", ("a _ _ b",), "high"), "rules[0].phrases"),
        (KeywordRule("gift", ("a _ b _ c _ d",), "high"), "rules[0].phrases"),
        (KeywordRule("gift", ("x" * 101,), "high"), "rules[0].phrases"),
    ],
)
def test_a_rule_that_is_none_is_refused_with_its_field(rule: KeywordRule, field: str) -> None:
    """The refusal names the first field that is wrong."""
    with pytest.raises(KeywordRulesInvalidError) as refused:
        checked([rule], [], 1)
    assert refused.value.metadata == {"field": field}


def test_too_many_rules_and_tags_are_refused() -> None:
    """There are limits to the rules, to their phrases together, and to the tags."""
    with pytest.raises(KeywordRulesInvalidError):
        checked([KeywordRule(f"r{number}", ("a",), "high") for number in range(101)], [], 1)
    with pytest.raises(KeywordRulesInvalidError):
        checked([KeywordRule("r", tuple(f"w{number}" for number in range(501)), "high")], [], 1)
    with pytest.raises(KeywordRulesInvalidError):
        checked([], [f"t{number}" for number in range(51)], 1)


@pytest.mark.parametrize("phrase", ["a _ a _ a", "a/b _ a/b", "(a+)+$ [x]{9}"])
def test_no_phrase_makes_a_hostile_text_slow(phrase: str) -> None:
    """Phrases hold no patterns of their own, and gaps are few."""
    rules = checked([KeywordRule("r", (phrase,), "high")], [], 1)
    started = time.process_time()
    matching(rules, "", "a " * 500_000)
    assert time.process_time() - started < 1


def test_many_phrases_that_are_denied_everywhere_are_not_slow() -> None:
    """A hundred phrases, each of which stands in thousands of places of one clause without counting in any."""
    rules = checked([KeywordRule("r", tuple(f"a/w{number}" for number in range(100)), "high")], [], 1)
    started = time.process_time()
    assert matching(rules, "", "no a " * 4000) == {}
    assert time.process_time() - started < 1


def api(agent: Agent, scopes: tuple[str, ...] = ("tickets.read", "policies.write")) -> Any:
    """Return a caller of LanguageService."""

    async def call(method: str, **fields: Any) -> Any:
        request = getattr(language_service_pb2, f"{method}Request")(**fields)
        metadata = agent.issuer.metadata(*scopes, tenant_id=agent.tenant_id)
        return await getattr(agent.running.language, method)(request, metadata=metadata)

    return call


def gift(phrase: str = "birthday") -> language_service_pb2.KeywordRule:
    """Return a rule."""
    return language_service_pb2.KeywordRule(name="gift", phrases=[phrase], level="urgent")


async def test_a_shop_begins_with_the_default_rules_and_replaces_them(agent: Agent) -> None:
    """The default is shown until it is replaced, and the etag keeps two from replacing the same."""
    call = api(agent)
    first = await call("GetKeywordRules")
    assert first.is_default
    assert [rule.name for rule in first.rules][:2] == ["cancel_request", "address_change"]
    second = await call("SetKeywordRules", rules=[gift()], member_tags=["Gold_Card"], etag=first.etag)
    assert (second.is_default, list(second.member_tags)) == (False, ["gold card"])
    assert second.principal
    assert await call("GetKeywordRules") == second
    refused = await refusal(call("SetKeywordRules", rules=[gift()], etag=first.etag))
    assert refused == (grpc.StatusCode.ABORTED, "ETAG_MISMATCH")


async def test_a_rule_that_is_none_is_refused_over_the_api(agent: Agent) -> None:
    """The reason is precise, and nothing is changed."""
    call = api(agent)
    refused = await refusal(call("SetKeywordRules", rules=[gift("_ _")]))
    assert refused == (grpc.StatusCode.INVALID_ARGUMENT, "KEYWORD_RULES_INVALID")
    assert (await call("GetKeywordRules")).is_default


async def test_rules_count_for_the_next_ticket_and_for_no_other_tenant(agent: Agent) -> None:
    """A matching ticket presses by the shop's rule and says so; another shop's rules stay the default."""
    await api(agent)("SetKeywordRules", rules=[gift()])
    plain = await agent.open(message="hello there")
    raised = await agent.open(message="It is a birthday present")
    score = await agent.ask("GetScoreBreakdown", ticket=raised["id"])
    assert "birthday" in str(score)
    shown = await agent.inbox()
    assert [one["id"] for one in shown["tickets"]] == [raised["id"], plain["id"]]
    other = Agent(agent.running, agent.issuer, uuid4())
    assert (await api(other)("GetKeywordRules")).is_default


async def test_a_text_can_be_read_without_a_ticket(agent: Agent) -> None:
    """The analysis tells what the rules and the model say, and stores nothing."""
    told = await api(agent)("AnalyzeText", text="Please cancel my order", tags=["lcc_member"])
    assert told.intent == "cancel"
    assert list(told.keyword_rules) == ["cancel_request", "member"]
    assert told.urgency >= 0.5
    assert (await agent.inbox())["tickets"] == []


async def test_changing_rules_needs_its_scope(agent: Agent) -> None:
    """Who may read tickets may not change what makes them press."""
    refused = await refusal(api(agent, ("tickets.read",))("SetKeywordRules", rules=[gift()]))
    assert refused[0] is grpc.StatusCode.PERMISSION_DENIED


def test_no_rules_at_all_change_nothing() -> None:
    """A shop can take all rules away."""
    signals = Signals(urgency=0.3, has_text=True)
    assert applied(KeywordRules((), (), 1), signals, "", ["please cancel"], ["lcc member"]) is signals


async def test_the_explanation_names_the_rules_that_raise_a_ticket(agent: Agent) -> None:
    """A member's ticket says that the rule raises it, and does not claim that the text presses."""
    opened = await agent.open(message="Is it blue?", tags=["LCC_Member"])
    score = await agent.ask("GetScoreBreakdown", ticket=opened["id"])
    assert "The shop's keyword rules raise it: member." in str(score)
