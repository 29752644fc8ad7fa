"""What networks have in parameters and MACs is what has been published about them, to the digits published."""

from decimal import Decimal

import pytest

from refconv.networks import names, network
from refconv.networks.counting import fvcore_macs
from refconv.networks.regnet import regnety

EXACT = {
    "fasternet_t0": ("3.905", "0.3354"),
    "fasternet_t1": ("7.595", "0.8505"),
    "fasternet_t2": ("14.983", "1.9043"),
    "fasternet_s": ("31.181", "4.5497"),
    "fasternet_m": ("53.521", "8.7219"),
    "fasternet_l": ("93.465", "15.4944"),
    "isynet_n0": ("9.593", "0.893"),
    "isynet_n1": ("7.425", "2.271"),
    "isynet_n1_s1": ("7.821", "2.290"),
    "isynet_n1_s2": ("8.858", "2.666"),
    "isynet_n1_s3": ("10.813", "3.279"),
    "isynet_n2": ("19.426", "3.891"),
    "isynet_n3": ("20.468", "5.825"),
}
"""Millions of parameters and GMACs at 224x224 without norms: recomputed from the authors' configurations, not by this code."""
PAPER = {"fasternet_t0": "0.34", "fasternet_t1": "0.85", "fasternet_t2": "1.90", "fasternet_s": "4.55", "fasternet_m": "8.72", "fasternet_l": "15.49"}
"""GMACs of FasterNet's Table 8: without norms."""
TRUNCATED = {("fasternet_s", 31.1)}
"""Parameters in millions that are published cut off, not rounded: 31.18 has become 31.1."""
ROUNDED_TWICE = {("convnext_pico", 9.1): 2}
"""Those rounded from what was rounded before, to that many digits: 9.046 has become timm's 9.05, and that 9.1."""
FVCORE = {
    ("resnet50", 224): 4111512576,
    ("efficientnet_b1", 256): 767785472,
    ("efficientnet_b4", 384): 4509819232,
    ("efficientnetv2_s", 384): 8437262336,
    ("convnext_femto", 288): 1297889280,
    ("convnext_tiny", 288): 7389402624,
    ("fasternet_t2", 224): 1910619392,
}
"""What fvcore 0.1.5 counts in timm 1.0.31's networks of these names."""


def rounds_to(number, printed):
    """Whether a Decimal, rounded, is what is printed, a float or a text; a half may have gone either way."""
    step = Decimal(1).scaleb(Decimal(str(printed)).as_tuple().exponent)
    return abs(number - Decimal(str(printed))) <= step / 2


def scaled(count, unit):
    """A count in a unit, exactly."""
    return Decimal(count) / {"": 1, "M": 10**6, "G": 10**9}[unit]


def published(what):
    """(name of a network, Published record) of every record of a quantity."""
    return [(name, one) for name in names() for one in network(name).published if one.what == what]


@pytest.mark.parametrize("name", EXACT)
def test_networks_of_the_papers_to_the_digits_known(name):
    parameters, macs = EXACT[name]
    assert rounds_to(scaled(network(name).parameters, "M"), parameters)
    assert rounds_to(scaled(network(name).macs(), "G"), macs)


@pytest.mark.parametrize("name", PAPER)
def test_macs_of_fasternets_table_8(name):
    assert rounds_to(scaled(network(name).macs(224), "G"), PAPER[name])


@pytest.mark.parametrize(("name", "size"), FVCORE)
def test_macs_as_fvcore_counts_them(name, size):
    assert fvcore_macs(network(name), size) == FVCORE[name, size]


def test_regnet_to_the_last_parameter():
    """torchvision's RegNetY-800MF has other widths than timm's; its metadata has all digits, 6432512 parameters and 0.834 GMACs."""
    theirs = regnety("regnet_y_800mf", 16, (64, 144, 320, 784), (1, 3, 8, 2))
    assert theirs.parameters == 6432512
    assert rounds_to(scaled(theirs.macs(224), "G"), "0.834")


def test_parameters_as_published():
    """Every published number but those of ConvFirstNet, which is a reconstruction: to the last digit printed."""
    seen = 0
    for name, one in published("parameters"):
        known = network(name)
        if known.family == "ConvFirstNet":
            continue
        here = scaled(known.parameters, one.unit)
        if (name, one.value) in TRUNCATED:
            assert not rounds_to(here, one.value)
            here = Decimal(int(here * 10)) / 10
        if (name, one.value) in ROUNDED_TWICE:
            assert not rounds_to(here, one.value)
            here = round(here, ROUNDED_TWICE[name, one.value])
        assert rounds_to(here, one.value), (name, one)
        seen += 1
    assert seen > 45


SIZED = [(name, one) for name, one in published("macs") if one.size is not None]
ALONE = [(name, one) for name, one in SIZED if "without norms" in one.source]
WITH_NORMS = [entry for entry in SIZED if entry not in ALONE]


def test_macs_as_published():
    """Those published for a size, to the last digit: torchvision's without norms, those of Lavin's and FasterNet's tables as fvcore counts them."""
    assert (len(ALONE), len(WITH_NORMS)) == (14 + 4, 11 * 2 + 10 + 1 + 1)
    for name, one in ALONE:
        assert rounds_to(scaled(network(name).macs(one.size), one.unit), one.value), (name, one)
    for name, one in WITH_NORMS:
        assert rounds_to(scaled(fvcore_macs(network(name), one.size), one.unit), one.value), (name, one)
    assert {network(name).family for name, one in published("macs") if one.size is None} == {"ResNet", "ISyNet", "ConvFirstNet"}


def test_counting_norms_matters():
    """Without norms, most of the same figures would be missed: they are not simply so coarse that anything fits."""
    missed = [name for name, one in WITH_NORMS if not rounds_to(scaled(network(name).macs(one.size), one.unit), one.value)]
    assert len(missed) > len(WITH_NORMS) / 2


@pytest.mark.parametrize(
    ("name", "parameters", "gmacs"), [("pico", 5.9, 0.861), ("nano", 10.2, 1.809), ("tiny", 17.2, 3.225), ("small", 28.6, 5.488)]
)
def test_convfirstnet_meets_the_papers_numbers_within_a_percent(name, parameters, gmacs):
    known = network(f"convfirstnet_{name}")
    assert known.parameters / 1e6 == pytest.approx(parameters, rel=0.01)
    assert known.macs() / 1e9 == pytest.approx(gmacs, rel=0.01)
    assert "reconstruction" in known.remark


def test_every_number_has_a_source_and_a_standing():
    units = {"parameters": ("", "M"), "macs": ("G",), "top1": ("%",), "latency": ("ms",), "throughput": ("images/s",), "efficiency": ("%",)}
    for name in names():
        for one in network(name).published:
            assert one.unit in units[one.what]
            assert one.source
            assert one.standing in ("read", "digitised", "recomputed")
            if one.what in ("latency", "throughput"):
                assert None not in (one.machine, one.batch, one.dtype)
        assert network(name).published
