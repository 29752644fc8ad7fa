"""SCALE-Sim topologies: columns by name, in every form that public files have."""

import re

import pytest

from refconv import Conv2d
from refconv.graph.read import read_model

STANDARD = "Layer name, IFMAP Height, IFMAP Width, Filter Height, Filter Width, Channels, Num Filter, Strides,"
ROW = "c, 9, 11, 3, 2, 4, 8, 2,"
PROBLEM = Conv2d(1, 4, 9, 11, 8, 3, 2, 2, 2, pad_right=1)


@pytest.fixture
def read(tmp_path):
    """What reads a text as a topology."""

    def read(text, *arguments, encoding="utf-8"):
        path = tmp_path / "t.csv"
        path.write_bytes(text.encode(encoding))
        return read_model(str(path), *arguments)

    return read


def problems(model):
    """The problems of a Model."""
    return [layer.problem for layer in model.layers]


def test_a_column_of_batches_is_no_stride(read):
    """The issue's case: nine numbers, the last the batch."""
    text = (
        "Layer name, IFMAP Height, IFMAP Width, Filter Height, Filter Width, Channels, Num Filter, Strides, Batch Size,\nc, 9, 9, 3, 3, 4, 8, 2, 4,\n"
    )
    model = read(text)
    assert problems(model) == [Conv2d(4, 4, 9, 9, 8, 3, 3, 2, 2)]
    assert model.layers[0].macs == 18_432
    assert problems(read(text, (), 2)) == [Conv2d(2, 4, 9, 9, 8, 3, 3, 2, 2)]
    assert problems(read(text.replace(" 4,\n", "\n"))) == [Conv2d(1, 4, 9, 9, 8, 3, 3, 2, 2)]
    with pytest.raises(ValueError, match=re.escape("batch = 2: the file's layers are for different numbers of images, 4 (line 2), 8 (line 3)")):
        read(text + "d, 9, 9, 3, 3, 4, 8, 2, 8,\n", (), 2)


@pytest.mark.parametrize(
    "text",
    [
        f"{STANDARD}\n{ROW}\n",
        f"{STANDARD.upper()}\r\n{ROW}\r\n",
        f"\ufeff{STANDARD}\n{ROW}\n",
        f"{STANDARD[:-1]}\n{ROW[:-1]}",
        f"{STANDARD.replace(',', chr(9))}\n{ROW.replace(',', chr(9))}\n",
        f"{STANDARD.replace(' ', chr(0xA0))}\n{ROW}\n",
        f"{STANDARD.replace('Layer name', 'Layer')}\n\n,,,,,\n{ROW}\n",
        f"{STANDARD.replace(',', ';')}\n{ROW.replace(',', ';')}\n",
        "IFMAP Height,IFMAP Width,Filter Height,Filter Width,Channels,Num Filter,Strides,Layer name\n9,11,3,2,4,8,2,c\n",
        "Num Filter,Layer,Channels,Strides,Filter Width,Filter Height,IFMAP Width,IFMAP Height\n8,c,4,2,2,3,11,9\n",
        "L, Num Filter, Channels, Strides, Filter Width, Filter Height, IFMAP Width, IFMAP Height\nc, 8, 4, 2, 2, 3, 11, 9\n",
        "Layer name,Ifmap height,ifmap width,filter height,filter width,channel,num filters,stride height,stride width,\nc,9,11,3,2,4,8,2,2,\n",
        "Layer name,IFMAP_Height,IFMAP_Width,Filter_Height,Filter_Width,Channels,Num_Filter,Strides,horizontal Strides\nc,9,11,3,2,4,8,2,2,\n",
        f"{ROW}\n",
        f"{ROW[:-1]}, 2\n",
    ],
)
def test_forms_of_one_layer(read, text):
    model = read(text)
    assert problems(model) == [PROBLEM]
    assert model.layers[0].name == "c"


def test_a_comma_in_a_name_of_a_table_with_tabs(read):
    model = read("Layer\tM\tN\tK\nfc,1\t4\t5\t6\n")
    assert [(layer.name, layer.macs) for layer in model.layers] == [("fc,1", 120)]


def test_depthwise_by_name_is_told(read):
    """SCALE-Sim takes any name with DP in it for a depthwise layer, ENDPOINT too."""
    model = read(f"{STANDARD}\n{ROW}\n{ROW.replace('c,', 'ENDPOINT,')}\n")
    assert problems(model) == [PROBLEM, PROBLEM._replace(k=4 * 8, groups=4)]
    assert model.notes[1:] == ("layers with DP in their name are depthwise, as in SCALE-Sim: ENDPOINT",)


def test_strides_of_their_own(read):
    header = STANDARD.replace("Strides", "Stride Width, Stride Height")
    assert problems(read(f"{header}\nc, 9, 11, 3, 2, 4, 8, 1, 2,")) == [PROBLEM._replace(stride_w=1, pad_right=0)]
    header = STANDARD.replace("Strides,", "Strides, Stride Width,")
    assert problems(read(f"{header}\nc, 9, 11, 3, 2, 4, 8, 2, 1,\nd, 9, 11, 3, 2, 4, 8, 2,")) == [PROBLEM._replace(stride_w=1, pad_right=0), PROBLEM]


def test_products(read):
    """M x K times K x N, as SCALE-Sim's GEMM topologies have them."""
    model = read("Layer, M, N, K,\r\nQKT,1024,64,128,\r\n1,3,5,7,")
    assert problems(model) == [Conv2d(1, 128, 1, 1024, 64, 1, 1), Conv2d(1, 7, 1, 3, 5, 1, 1)]
    assert [(layer.op, layer.macs) for layer in model.layers] == [("gemm", 1024 * 64 * 128), ("gemm", 105)]
    assert model.notes == ()
    assert problems(read("Layer, K, M, N\na, 7, 3, 5", (), 4)) == [Conv2d(4, 7, 1, 3, 5, 1, 1)]


def test_dense_is_the_only_sparsity(read):
    for dense in ("1:1", "4:4", ""):
        assert problems(read(f"Layer Name, M, N, K, Sparsity,\na, 3, 5, 16, {dense},")) == [Conv2d(1, 16, 1, 3, 5, 1, 1)]
        assert problems(read(f"{STANDARD} Sparsity,\n{ROW} {dense},")) == [PROBLEM]
    for sparse in ("2:4", "1", "dense", ":"):
        with pytest.raises(ValueError, match=re.escape(f"t.csv: line 2: Sparsity: '{sparse}': must be 1:1 (dense)")):
            read(f"{STANDARD} Sparsity,\n{ROW} {sparse},")


def test_notes_and_headings_are_told(read):
    text = (
        f"{STANDARD}\n\nAlexnet,\n{ROW}\nConv2_dw, 9, 11, 3, 2, 4, 8, 2,#dw\n\nGooglenet\n{ROW}\n"
        f"{STANDARD},,Eh,Ew\nd, 9, 11, 3, 2, 4, 8, 2,,,110,110\n"
    )
    model = read(text)
    assert problems(model) == [PROBLEM] * 4
    assert model.notes[1:] == (
        "rows with a name alone are taken for headings: Alexnet, Googlenet",
        "notes after the last column are not read: #dw",
        "columns after one without a name are not read: Eh, Ew",
    )


def test_a_width_twice_is_height_and_width(read):
    """DeepBench's files say IFMAP Width twice."""
    model = read(f"{STANDARD.replace('IFMAP Height', 'IFMAP Width')}\n{ROW}")
    assert problems(model) == [PROBLEM]
    assert model.notes[1] == "two columns have one name: the first is taken for the height, as SCALE-Sim does: IFMAP Width"


@pytest.mark.parametrize(
    ("text", "error"),
    [
        (f"{STANDARD} Padding,\n{ROW} 1,", "line 1: column 'Padding': is not known; legal: Layer name, IFMAP Height"),
        (f"{STANDARD}\n{ROW} 4,", "line 2: '4': has no column, since there are 7; legal: a header that names it, such as Stride Width or Batch Size"),
        (f"{ROW} 2, 4,", "line 1: '4': has no column, since there are 8; legal: a header that names every column"),
        (f"{STANDARD} Strides,\n{ROW} 4,", "line 1: column Strides: is there twice"),
        (f"{STANDARD.replace(' Channels,', '')}\n{ROW}", "line 1: column Channels: is missing; must have IFMAP Height"),
        ("Layer, M, N,\na, 3, 5,", "line 1: column K: is missing; must have .*, or M, N, K"),
        ("Layer, M, N, K, Channels,\na, 3, 5, 7, 2", "line 1: column Channels: must not stand beside M, N, K"),
        ("Layer, M, N, K\na, 3, 5", "line 2: has 2 numbers: must be a name and M, N, K"),
        ("Layer, M, N, K\na, 3, , 5", "line 2: N: '': must be an integer of 1 or more"),
        (f"{STANDARD}\nLSTM, 1, B, 1, 1, H, H, 1,", "line 2: IFMAP Width: 'B': must be an integer of 1 or more"),
        (f"{STANDARD}\nFC, 1, 1, 1, ,1 2, 2, 1,", "line 2: Filter Width: '': must be an integer"),
        (STANDARD.partition(",")[2] + "\n" + ROW, "line 1: column Layer name: is missing; must stand beside IFMAP Height and the others"),
        (f"{STANDARD} 1,\n{ROW} 4,", "line 1: column '1': is not known"),
        ("Alexnet,\n", "has no layers: must have rows of"),
    ],
)
def test_doubtful_tables_are_refused(read, text, error):
    with pytest.raises(ValueError, match=f"t.csv: {re.escape(error).replace(re.escape('.*'), '.*')}"):
        read(text)
