"""The matrix efficiency measure: its formula, its weights, and the amounts of ISyNet's networks as derived from their published configurations."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from refconv.networks import names, network
from refconv.networks.language import Conv, Stage
from refconv.networks.network_data import Network
from sim.account.amounts import layer_amounts, network_amounts
from sim.analysis.matrix_efficiency import NOTHING, Amounts, Weights, convolution_amounts, measure, space_measure

amounts = st.builds(Amounts, st.integers(1, 10**12), st.integers(0, 10**12), st.integers(0, 10**12))
weights = st.builds(Weights, st.floats(0, 1e4), st.floats(0, 1e4), st.just(2))


@given(amounts, weights)
def test_the_measure_is_the_matrix_unit_s_share_of_what_is_weighed(made, chosen):
    assert measure(made, chosen) * (made.matrix + chosen.vector * made.vector + chosen.data * made.data) == pytest.approx(made.matrix)
    assert 0 < measure(made, chosen) <= 1
    assert measure(made, Weights(0, 0)) == 1


@given(st.lists(amounts, min_size=1, max_size=5), weights)
def test_adding_layers_gives_a_mean_between_theirs_and_a_space_the_mean_of_its_networks(made, chosen):
    each = [measure(one, chosen) for one in made]
    whole = measure(sum(made, start=NOTHING), chosen)
    assert min(each) * (1 - 1e-9) <= whole <= max(each) * (1 + 1e-9)
    assert space_measure(made, chosen) == pytest.approx(math.fsum(each) / len(each))


@given(amounts, weights, st.integers(1, 10**6))
def test_work_that_is_no_matrix_product_lowers_it(made, chosen, more):
    assert measure(made + Amounts(0, more, more), chosen) <= measure(made, chosen)


def test_narrow_groups_are_vector_work_as_the_weights_say():
    assert convolution_amounts(900, 1, 50) == Amounts(0, 900, 50)
    assert convolution_amounts(900, 8, 50) == Amounts(900, 0, 50)
    assert convolution_amounts(900, 8, 50, Weights(narrowest=16)) == Amounts(0, 900, 50)


def test_what_is_not_defined_is_refused():
    for made, chosen, text in (
        (Amounts(-1, 0, 0), None, "matrix = -1: must be 0 or more"),
        (NOTHING, None, "must weigh something"),
        (Amounts(0, 1, 1), Weights(0, 0), "must weigh something"),
        (Amounts(1, 0, 0), Weights(vector=-1), "vector = -1: must be a finite"),
        (Amounts(1, 0, 0), Weights(data=math.nan), "data = nan: must be a finite"),
        (Amounts(1, 0, 0), Weights(narrowest=0), "narrowest = 0: must be 1"),
    ):
        with pytest.raises(ValueError, match=text):
            measure(made, chosen)
    with pytest.raises(ValueError, match="networks: must be at least one"):
        space_measure([])


def test_a_network_s_amounts_are_its_layers_by_hand():
    known = Network("one", "one", 8, (Stage("stem", (Conv(16, 3, 2, "relu"), Conv(4))),))
    first, relu, second = layer_amounts(known).values()
    assert first == Amounts(16 * 16 * 27, 0, 3 * 64 + 16 * 16)
    assert relu == Amounts(0, 16 * 16, 0)
    assert second == Amounts(16 * 16 * 4, 0, 16 * 16 + 16 * 4)
    assert network_amounts(known) == first + relu + second
    assert network_amounts(known, 3) == Amounts(*(3 * value for value in first + relu + second))


@pytest.mark.parametrize(
    ("name", "gmacs", "data", "relu_and_add"),
    [
        ("isynet_n0", 0.892, 3.68, 1.74 + 0.34),
        ("isynet_n1", 2.269, 5.81, 2.66 + 0.43),
        ("isynet_n1_s3", 3.278, 7.97, 3.74 + 0.75),
        ("isynet_n2", 3.889, 9.24, 4.28 + 1.00),
        ("isynet_n3", 5.823, 14.46, 5.53 + 1.61),
    ],
)
def test_isynet_s_amounts(name, gmacs, data, relu_and_add):
    """Counted from the configurations by another program: convolutions alone, to the digits given; the mean's 7 x 7 x 1280 come on top."""
    made = network_amounts(network(name), size=224)
    assert made.matrix / 1e9 == pytest.approx(gmacs, abs=0.003)
    assert made.data / 1e6 == pytest.approx(data, abs=0.011)
    assert (made.vector - 49 * 1280) / 1e6 == pytest.approx(relu_and_add, abs=0.012)


@pytest.mark.parametrize("name", names())
def test_every_multiply_add_is_matrix_or_vector_work(name):
    known = network(name)
    made, dense = network_amounts(known, size=64), network_amounts(known, size=64, weights=Weights(narrowest=1))
    assert dense.matrix == known.macs(64)
    assert dense.matrix + dense.vector == made.matrix + made.vector
    assert measure(dense) >= measure(made)
