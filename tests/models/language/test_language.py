"""The language model: its alphabet, its context, and the same text by every solver."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from models.language.model import PRINTABLE, Language, LanguageConfig, UnknownCharacterError
from solvers import CachedSequential, GSJacobi, Jacobi, JacobiGS, Sequential, SlidingGSJacobi, solve
from solvers.heads.categorical import Argmax, Gumbel, InverseCDF
from tests.kit.bank import tiny_language

HEADS = [Argmax(5), Gumbel(5, temperature=0.8, top_k=3), Gumbel(5, top_p=0.8), InverseCDF(5)]


@pytest.fixture(scope="module")
def model():
    return Language(LanguageConfig(width=8, num_layers=1, num_heads=2, context=12), rngs=nnx.Rngs(0))


def test_texts_come_back_from_their_ids(model):
    assert model.decode(model.encode(PRINTABLE)) == PRINTABLE
    assert model.encode("").shape == (0,)


def test_a_character_that_the_model_does_not_know_is_named(model):
    with pytest.raises(UnknownCharacterError, match="does not know the character 'é', number 3 of the text"):
        model.encode("café")


@pytest.mark.parametrize("length", [0, 13])
def test_a_text_is_as_long_as_the_context_at_most(model, length):
    with pytest.raises(ValueError, match=f"from 1 to 12 characters, the model's context, not {length}"):
        model.fold(length)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [({"alphabet": "aa"}, "two or more different characters"), ({"context": 0}, "context must be at least 1, not 0")],
)
def test_an_architecture_that_cannot_be_is_refused_in_a_sentence(options, sentence):
    with pytest.raises(ValueError, match=sentence):
        LanguageConfig(**options)


@pytest.mark.parametrize("head", HEADS, ids=lambda head: type(head).__name__)
def test_every_solver_writes_the_same_text(head):
    system = tiny_language(12, 3, 0, head=head)
    exact = solve(system, Sequential()).value
    assert len(np.unique(exact)) > 1
    for solver in (CachedSequential(), Jacobi(), GSJacobi(5), JacobiGS(4), SlidingGSJacobi(4)):
        np.testing.assert_array_equal(solve(system, solver).value, exact, err_msg=str(solver))


def test_positions_matter_whichever_way_they_are_told():
    for positions in ("rope", "learned"):
        system = tiny_language(6, 1, 0, positions=positions)
        swept = system.network.conditionals(jnp.zeros((6, 1), jnp.int32), system.init_cache(), 0, 6, 6)[0]
        assert float(jnp.max(jnp.abs(swept[1] - swept[5]))) > 1e-4, positions


def test_an_equation_is_a_function_of_the_characters_before_it_alone():
    system = tiny_language(9, 2, 1)
    jacobian = jax.jit(jax.jacobian(lambda e: _logits(system, e)))(jnp.zeros((9, 2, 5)))
    reads = np.abs(np.asarray(jacobian)).sum(axis=(1, 2, 4, 5))
    assert not np.triu(reads).any()
    assert np.tril(reads, -1)[np.tril_indices(9, -1)].all()


def _logits(system, onehot):
    """Logits where classes are mixed, so that they have derivatives."""
    network = system.network
    table = network.embedding.table
    before = jnp.concatenate([jnp.broadcast_to(table[-1], (1, 2, 8)), (onehot @ table[:-1])[:-1]])
    h, _ = network.trunk.causal(before, system.init_cache().layers, 0, 9)
    return network.readout(h)
