"""Predictions on real events are as good as we say, and what cannot be learned says so."""

from benchmarks.real_predictions import BUYS_AGAIN, BUYS_SOON, LEAVES, cdnow, learn, shop

SGD = "logistic_sgd_0.003"


def test_purchases_of_the_next_half_hour_are_predicted_better_than_by_the_base_rate() -> None:
    found = learn(BUYS_SOON, shop())
    figures, mean, is_better = found[SGD]
    assert figures.examples > 30_000
    assert figures.log_loss <= 0.302
    assert abs(figures.base_log_loss - 0.35) < 0.01
    assert figures.roc_auc is not None
    assert figures.roc_auc >= 0.77
    assert abs(mean - figures.positives / figures.examples) < 0.02
    assert is_better

    naive = found["gaussian_naive_bayes"]
    assert naive.figures.log_loss > naive.figures.base_log_loss
    assert not naive.better_than_base


def test_who_does_not_come_back_cannot_be_learned_there_and_is_withheld() -> None:
    figures, _, is_better = learn(LEAVES, shop())[SGD]
    assert figures.log_loss > figures.base_log_loss
    assert not is_better


def test_customers_who_buy_again_are_predicted_and_the_mean_score_is_their_rate() -> None:
    figures, mean, is_better = learn(BUYS_AGAIN, cdnow())[SGD]
    assert figures.examples > 60_000
    assert figures.log_loss <= 0.648
    assert figures.roc_auc is not None
    assert figures.roc_auc >= 0.665
    assert abs(mean - figures.positives / figures.examples) < 0.1
    assert is_better
