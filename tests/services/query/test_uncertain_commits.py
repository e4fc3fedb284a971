"""A commit whose outcome the broker does not tell is looked up, and made once."""

import pytest
from confluent_kafka import KafkaError, KafkaException, Producer

from schemas.settings import Settings
from services import commands
from tests.services.query.conftest import ready, serve
from tests.services.query.test_funnels import BUY, FUNNELS, funnel_records


@pytest.mark.parametrize("committed", [True, False])
async def test_a_funnel_whose_commit_got_no_clear_answer_is_made_once(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, committed: bool
) -> None:
    failures = [KafkaError(KafkaError.UNKNOWN, "EndTxn failed: Unknown broker error")]

    class Unclear(Producer):
        def commit_transaction(self, timeout: float = 10) -> None:
            if not failures:
                super().commit_transaction(timeout)
                return
            if committed:
                super().commit_transaction(timeout)
            else:
                self.flush(timeout)
            raise KafkaException(failures.pop())

    async with serve(settings) as client:
        await ready(client)
        monkeypatch.setattr(commands, "Producer", Unclear)
        answers = [
            await client.post(FUNNELS, json=BUY | {"id": name}) for name in ("buy", "another")
        ]
        shown = await client.get(FUNNELS)
    assert [answer.status_code for answer in answers] == [201, 201]
    assert not failures
    assert [funnel["id"] for funnel in shown.json()["funnels"]] == ["another", "buy"]
    assert len(funnel_records(settings)) == 2
