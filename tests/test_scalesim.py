"""SCALE-Sim's topologies: read as its own counts say, or refused by line."""

import pytest
from commands import TOPOLOGY_HEADER

from refconv import Conv2d
from refconv.graph.read import read_model

ROWS = "Conv1,\t224, 224, 3, 3, 3, 32, 2,\n\nConv2_DP, 114,114, 3, 3, 32, 1, 1,\nConv3, 112, 112, 1, 1, 32, 64, 1,\n"


def test_scalesim_topologies(tmp_path):
    """SCALE-Sim's counts: ceil((size - filter) / stride) + 1 outputs; DP is depthwise."""
    path = tmp_path / "mobilenet.csv"
    for text in (TOPOLOGY_HEADER + ROWS, ROWS, TOPOLOGY_HEADER + ROWS.replace(",\n", "\n"), "\ufeff" + TOPOLOGY_HEADER + ROWS.replace("\n", "\r\n")):
        path.write_text(text, encoding="utf-8", newline="")
        model = read_model(str(path))
        assert [layer.name for layer in model.layers] == ["Conv1", "Conv2_DP", "Conv3"]
        first, depthwise, pointwise = (layer.problem for layer in model.layers)
        assert (first.p, first.q, first.macs) == (112, 112, 112 * 112 * 32 * 27)
        assert depthwise == Conv2d(1, 32, 114, 114, 32, 3, 3, groups=32)
        assert pointwise == Conv2d(1, 32, 112, 112, 64, 1, 1)
        assert "padding is unknown" in model.notes[0]
    path.write_text("a,9,9,3,3,4,8,2,1,\n")
    assert read_model(str(path), batch=5).layers[0].problem == Conv2d(5, 4, 9, 9, 8, 3, 3, 2, 1)


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("", "has no layers: must have rows of"),
        (TOPOLOGY_HEADER, "has no layers"),
        (TOPOLOGY_HEADER + "a, 9, 9, 3, 3, 4, 8\n", "line 2: has 6 numbers: must be"),
        (TOPOLOGY_HEADER + "a, 9, 9, 3, 3, 4, 8, x\n", "line 2: Strides: 'x': must be an integer of 1 or more"),
        (TOPOLOGY_HEADER + "a, 9, 9, 3, 3, 4, 0, 1\n", "line 2: Num Filter: '0': must be an integer"),
        (TOPOLOGY_HEADER + "a, 9, 9, 10, 3, 4, 8, 1\n", "line 2: Filter Height: 10: must be at most IFMAP Height = 9"),
        (TOPOLOGY_HEADER + "a, 9, 9, 3, 3, 99999999999, 8, 1\n", "line 2: input channels = 99999999999: must be from 1"),
        ("\0\1\2", "has no layers|cannot be read as CSV"),
        ('"a, 9\n', "cannot be read as CSV"),
    ],
)
def test_bad_topologies(tmp_path, text, error):
    path = tmp_path / "t.csv"
    path.write_text(text)
    with pytest.raises(ValueError, match=rf"t\.csv: ({error})"):
        read_model(str(path))
