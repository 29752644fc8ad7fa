"""Problems: sizes and costs that follow from a Conv2d, benchdnn's text in and out."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from problems import conv_problems, partial_problems

from refconv import Conv2d, PartialConv2d
from refconv.problem.conv import KNOWN, parse_named


@given(conv_problems())
def test_text_round_trip(problem):
    """All but padding that no window reaches; text that was parsed comes back to the letter."""
    again = Conv2d.parse(str(problem))
    unreached = {"pad_bottom": again.pad_bottom, "pad_right": again.pad_right}
    assert again == problem._replace(**unreached)
    assert again.tensors == problem.tensors
    assert again.pad_bottom <= problem.pad_bottom
    assert Conv2d.parse(str(again)) == again


CASES = {
    "g96mb1ic96ih56oc96kh7ph3": Conv2d(1, 96, 56, 56, 96, 7, 7, 1, 1, 3, 3, 3, 3, 1, 1, 96),
    'mb1ic3ih224oc64oh112kh7sh2ph3n"resnet_50:conv1"': Conv2d(1, 3, 224, 224, 64, 7, 7, 2, 2, 3, 3, 2, 2),
    "mb1_ic3ih224iw224_oc64oh112ow112_kh7kw7_sh2sw2_ph3pw3_dh0dw0nname": Conv2d(1, 3, 224, 224, 64, 7, 7, 2, 2, 3, 3, 2, 2),
    "mb1ic3ih224oc64kh7sh2ph3": Conv2d(1, 3, 224, 224, 64, 7, 7, 2, 2, 3, 3, 2, 2),
    "ic4ih8oc4kh3": Conv2d(2, 4, 8, 8, 4, 3, 3),
    "g2ic4ih8oc6kh3dh1": Conv2d(2, 4, 8, 8, 6, 3, 3, dilation_h=2, dilation_w=2, groups=2),
    "mb3ic4ih8iw9oc4kh3kw5": Conv2d(3, 4, 8, 9, 4, 3, 5),
    "ic16ih14oc16oh14kh3": Conv2d(2, 16, 14, 14, 16, 3, 3, 1, 1, 1, 1, 1, 1),
    "ic16ih14oc16oh7kh3sh2ph0": Conv2d(2, 16, 14, 14, 16, 3, 3, 2, 2, 0, 0, 1, 1),
    "ic16ih10oc16oh4kh3sh2ph0": Conv2d(2, 16, 10, 10, 16, 3, 3, 2, 2, 0, 0, -1, -1),
    "ic16ih10oc16oh12kh2": Conv2d(2, 16, 10, 10, 16, 2, 2, 1, 1, 1, 1, 2, 2),
    "ic3ih8oc4oh8kh3kw5": Conv2d(2, 3, 8, 8, 4, 3, 5, 1, 1, 1, 2, 1, 2),
    "ic16id1ih10oc16od1kd1sd1pd0dd0kh1": Conv2d(2, 16, 10, 10, 16, 1, 1),
}


@pytest.mark.parametrize("text", CASES)
def test_benchdnn_descriptors(text):
    assert Conv2d.parse(text) == CASES[text]


def test_name_and_every_token():
    assert parse_named('mb1ic3ih224oc64oh112kh7sh2ph3n"resnet_50:conv1"')[0] == "resnet_50:conv1"
    assert parse_named("ic3ih8oc4kh1nplain")[0] == "plain"
    flat = {"id": 1, "od": 1, "kd": 1, "sd": 1, "pd": 0, "dd": 0}
    values = dict(g=2, mb=3, ic=4, ih=9, iw=11, oc=6, oh=4, ow=9, kh=3, kw=2, sh=2, sw=1, ph=0, pw=0, dh=0, dw=1, **flat)
    assert set(values) == set(KNOWN.split())
    problem = Conv2d.parse("_".join(f"{token}{value}" for token, value in values.items()))
    assert problem == Conv2d(3, 4, 9, 11, 6, 3, 2, 2, 1, 0, 0, 0, 0, 1, 2, 2)


WRONG = {
    "": "ic is missing",
    "conv": "no token at 'co'",
    "ic4ih5oc8": "kh is missing",
    "ic4ih5oc8kh3kh3": "kh is given twice",
    "ic4ih5oc8kh3xx3": "no token at 'xx3'",
    "ic4ih5oc8kh": "no token at 'kh'",
    "ic4iw5oc8kw3": "1-D convolution",
    "ic4id5ih5oc8kd3kh3": "3-D convolution",
    "ic4ih5oc8kh3pd1": "3-D convolution",
    "ic4ih5oc8kh9": "output has no elements.*padding of at least 4",
    "g3ic4ih5oc8kh3": "input channels = 4: must be a multiple of groups = 3",
    "ic16ih14iw28oc16oh14kh3ph1": "ow is missing, and oh's 14 in its place leaves",
    "ic0ih5oc8kh3": "input channels = 0: must be from 1",
    "ic4ih5oc8kh3ph-1": "ph = -1: must be 0 or more",
    "ic4ih99999oc8kh65536": "kernel height = 65536: must be from 1 to 65535",
    "ic4ih5oc8kh3sh0": "sh = 0: must be 1 or more",
    "ic4ih5oc8kh3oh0": "oh = 0: must be 1 or more",
    "ic99999999999ih5oc8kh3": "input channels = 99999999999: must be from 1",
    "ic2000000ih2000000oc8kh3": "input has .* elements: must be below",
}


@pytest.mark.parametrize("text", WRONG)
def test_wrong_descriptors_say_what_is_legal(text):
    with pytest.raises(ValueError, match=WRONG[text]):
        Conv2d.parse(text)


@given(st.text(alphabet=KNOWN + '0123456789_-"n é', max_size=40))
def test_any_text_parses_or_raises_one_line(text):
    try:
        problem = Conv2d.parse(text)
    except ValueError as error:
        assert "\n" not in str(error).replace(repr(text), "")
    else:
        assert Conv2d.parse(str(problem)) == problem


@given(conv_problems())
def test_touched_input_is_what_windows_touch(problem):
    """Against marking each element of each window on a small image."""
    p = problem
    mark = np.zeros((p.h, p.w), bool)
    for i in range(p.p):
        for j in range(p.q):
            for r in range(p.r):
                for s in range(p.s):
                    y, x = i * p.stride_h + r * p.dilation_h - p.pad_top, j * p.stride_w + s * p.dilation_w - p.pad_left
                    if 0 <= y < p.h and 0 <= x < p.w:
                        mark[y, x] = True
    assert problem.touched_input == mark.sum() * p.n * p.c
    used = {
        (r, s)
        for r in range(p.r)
        for s in range(p.s)
        for i in range(p.p)
        for j in range(p.q)
        if 0 <= i * p.stride_h + r * p.dilation_h - p.pad_top < p.h and 0 <= j * p.stride_w + s * p.dilation_w - p.pad_left < p.w
    }
    assert problem.touched_weight == len(used) * p.k * p.c_group
    assert problem.macs == p.n * p.p * p.q * np.prod(p.weight_shape)


def test_known_costs():
    """ResNet-50's first 3x3: 115.6 M MACs; FasterNet's partial convolution: 1/16 of the MACs of the dense layer at ratio 1/4."""
    dense = Conv2d.parse("mb1ic64ih56oc64kh3ph1")
    assert dense.macs == 115_605_504
    assert dense.flops == 2 * dense.macs
    whole, part = Conv2d.parse("mb1ic96ih56oc96kh3ph1"), PartialConv2d(1, 96, 56, 56, 24, 3, 3)
    assert whole.macs == 16 * part.macs
    assert part.tensors == {"input": 301056, "weight": 24 * 24 * 9, "output": 301056}


@given(partial_problems())
def test_partial_problems(problem):
    conv = problem.conv
    assert (conv.p, conv.q) == (problem.h, problem.w)
    assert str(problem) == f"{conv} of {problem.c} channels"
    with pytest.raises(ValueError, match="input channels = 0: must be from"):
        problem._replace(c=0).checked()
