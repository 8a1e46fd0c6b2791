"""Does the judge find a planted loss, repetition, disorder and damage, and is it content where all went well?"""

from __future__ import annotations

import pytest

from tests.faults.kills.judge import History, Name, Reader, Reception, Sent, Subscription, matches


class Case:
    """One author at QoS 2 who sent five acknowledged messages and a sixth, and one reader of them all."""

    def __init__(self, qos: int = 2) -> None:
        self.history = History()
        self.subscription = Subscription("load/#", qos, since=self.history.now())
        self.reader = self.history.readers["reader"] = Reader([self.subscription])
        for number in range(1, 7):
            self.history.sent[self.name(number)] = Sent(2, self.history.now(), owed=number < 6)

    def name(self, number: int) -> Name:
        return Name("load/one", "author", number)

    def receive(self, *numbers: int) -> list[str]:
        for number in numbers:
            self.reader.receptions.append(
                Reception("load/one", self.name(number).payload(), min(2, self.subscription.qos))
            )
        return self.history.judge()

    def retained_faults(self, number: int | None) -> list[str]:
        found = {} if number is None else {"load/one": self.name(number).payload()}
        return self.history.retained_faults(["load/one"], found)


@pytest.mark.parametrize("numbers", [[1, 2, 3, 4, 5], [1, 2, 3, 4, 5, 6]])
def test_all_that_was_acknowledged_and_perhaps_more_is_well(numbers: list[int]) -> None:
    assert Case().receive(*numbers) == []


def test_a_loss_is_found() -> None:
    assert Case().receive(1, 2, 4, 5) == ["reader never got load/one 3 of author, which was acknowledged"]


def test_a_repetition_is_found_at_qos_2_only() -> None:
    assert Case().receive(1, 2, 3, 2, 4, 5) == ["reader got load/one 2 of author twice at QoS 2"]
    assert Case(qos=1).receive(1, 2, 3, 2, 3, 4, 5) == []


def test_a_first_reception_out_of_order_is_found() -> None:
    assert Case(qos=1).receive(1, 3, 2, 3, 4, 5) == ["reader got load/one 2 of author after 3"]


def test_a_damaged_payload_and_one_that_nobody_sent_are_found() -> None:
    case = Case()
    case.reader.receptions.append(Reception("load/one", case.name(1).payload()[:-1], 2))
    (fault,) = case.receive(1, 2, 3, 4, 5)
    assert "is damaged" in fault
    (fault,) = Case().receive(1, 2, 3, 4, 5, 7)
    assert "got what nobody sent" in fault


def test_another_qos_than_was_subscribed_to_is_found() -> None:
    case = Case(qos=1)
    case.subscription.qos = 2
    case.reader.receptions.append(Reception("load/one", case.name(1).payload(), 1))
    assert case.receive(2, 3, 4, 5) == ["reader got load/one 1 of author at QoS 1 instead of 2"]


def test_only_what_was_sent_while_the_session_was_subscribed_is_owed() -> None:
    case = Case()
    case.subscription.since = case.history.sent[case.name(3)].at
    assert case.receive(4, 5) == []
    case.subscription.leaving = case.history.now()
    case.reader.receptions.clear()
    assert case.receive() == []


def test_a_message_sent_after_unsuback_is_found() -> None:
    case = Case()
    case.subscription.leaving = case.subscription.left = case.history.sent[case.name(2)].at
    assert case.receive(1, 2, 3) == ["reader got load/one 3 of author without a subscription"]


def test_what_a_client_saw_at_once_is_told() -> None:
    case = Case()
    case.history.faults.append("the session is gone")
    assert case.receive(1, 2, 3, 4, 5) == ["the session is gone"]


@pytest.mark.parametrize(("number", "well"), [(4, False), (5, True), (6, True), (7, False), (None, False)])
def test_the_retained_message_is_the_last_acknowledged_one_or_a_later_one(number: int | None, well: bool) -> None:
    assert (Case().retained_faults(number) == []) is well


@pytest.mark.parametrize(("number", "well"), [(4, False), (5, False), (6, True), (None, True)])
def test_what_an_acknowledged_message_cleared_stays_so_until_a_later_one(number: int | None, well: bool) -> None:
    case = Case()
    case.history.sent[case.name(5)].clears = True
    assert (case.retained_faults(number) == []) is well


def test_before_the_first_acknowledgement_there_may_be_a_retained_message_or_none() -> None:
    case = Case()
    for sent in case.history.sent.values():
        sent.owed = False
    assert case.retained_faults(None) == case.retained_faults(1) == []


@pytest.mark.parametrize(
    ("topic_filter", "topic", "expected"),
    [
        ("load/#", "load/one", True),
        ("load/#", "load", True),
        ("load/#", "loading/one", False),
        ("load/+/0", "load/a/0", True),
        ("load/+/0", "load/a/1", False),
        ("load/+", "load/a/0", False),
        ("load/one", "load/one", True),
    ],
)
def test_filters_match_as_the_specification_says(topic_filter: str, topic: str, expected: bool) -> None:
    assert matches(topic_filter, topic) is expected
