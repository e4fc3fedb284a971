"""A deployment's topics: what is declared is what is created."""

from schemas.operators import OPERATORS
from schemas.topics import Topic, Topics


def test_every_topic_that_has_a_name_in_the_code_is_one_of_the_deployments() -> None:
    topics = Topics("shop")
    declared = {topic.name for topic in topics}
    assert {value.name for value in vars(topics).values() if isinstance(value, Topic)} <= declared
    assert topics.positions.name in declared


def test_every_result_of_an_operator_has_its_topic() -> None:
    topics = Topics("shop")
    declared = {topic.name for topic in topics}
    results = [result.topic(topics).name for spec in OPERATORS for result in spec.results]
    assert set(results) <= declared
    assert len(set(results)) == len(results)
