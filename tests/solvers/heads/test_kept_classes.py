"""Draws among the likeliest classes, by Gumbel noise and by quantiles: one distribution, two couplings."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from solvers.heads.categorical import Gumbel, InverseCDF

LOGITS = jnp.log(jnp.array([0.05, 0.4, 0.1, 0.25, 0.2]))
COUNT = 20_000
CASES = [
    ({}, [0.05, 0.4, 0.1, 0.25, 0.2]),
    ({"temperature": 0.5}, np.array([0.05, 0.4, 0.1, 0.25, 0.2]) ** 2),
    ({"top_k": 2}, [0, 0.4, 0, 0.25, 0]),
    ({"top_p": 0.6}, [0, 0.4, 0, 0.25, 0]),  # 0.4 alone is less, and with 0.25 it is reached
    ({"top_p": 0.3}, [0, 1, 0, 0, 0]),
    ({"top_k": 4, "top_p": 0.9}, [0, 0.4, 0.1, 0.25, 0.2]),
]


@pytest.mark.parametrize("kind", [Gumbel, InverseCDF])
@pytest.mark.parametrize(("options", "shares"), CASES)
def test_draws_and_likelihoods_are_of_the_classes_that_are_kept(kind, options, shares):
    head, shares = kind(5, **options), np.asarray(shares) / np.sum(shares)
    params = jnp.broadcast_to(LOGITS, (COUNT, 1, 5))
    drawn = head.sample(params, head.draw_noise(jax.random.key(0), COUNT, 1))
    found = np.bincount(np.asarray(drawn)[:, 0], minlength=5) / COUNT
    np.testing.assert_allclose(found, shares, atol=5 * np.sqrt(0.25 / COUNT))
    assert not found[shares == 0].any()
    told = np.exp(head.log_prob(params[:5], jnp.arange(5)[:, None]))[:, 0]
    np.testing.assert_allclose(told, shares, atol=1e-6)


def test_equal_logits_at_the_edge_are_kept_together():
    head = Gumbel(3, top_k=1)
    np.testing.assert_allclose(np.exp(head.log_prob(jnp.zeros((3, 1, 3)), jnp.arange(3)[:, None]))[:, 0], 1 / 3, 1e-6)


def test_a_quantile_of_one_is_the_last_class_that_there_is():
    head = InverseCDF(5, top_k=2)
    params = jnp.broadcast_to(LOGITS, (1, 1, 5))
    assert int(head.sample(params, {"uniform_u": jnp.ones((1, 1))})[0, 0]) == 3
    assert int(head.sample(params, {"uniform_u": jnp.zeros((1, 1))})[0, 0]) == 1


@pytest.mark.parametrize("u", [-0.1, 1.5, jnp.nan])
def test_numbers_that_are_no_quantiles_are_refused(u):
    with pytest.raises(ValueError, match="uniform_u should be"):
        InverseCDF(5).check_noise({"uniform_u": jnp.full((2, 1), u)})


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"top_k": 0}, "top_k must be from 1 to the number of classes, 5, not 0"),
        ({"top_k": 6}, "top_k must be from 1 to the number of classes, 5, not 6"),
        ({"top_p": 0.0}, "top_p must be more than 0 and at most 1, not 0.0"),
        ({"temperature": 0.0}, "temperature must be more than 0"),
    ],
)
def test_options_that_cannot_be_are_refused(options, sentence):
    with pytest.raises(ValueError, match=sentence):
        InverseCDF(5, **options)
