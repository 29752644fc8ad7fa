"""What has been published about the networks: {name: its Published records}, made of the tables of refconv/published/.

Names of machines are those of sim's machine files where there is one.
"""

from refconv.networks.network_data import Published
from refconv.published import fasternet, isynet, lavin, libraries

A5000, ASCEND, GPU, CPU, ARM = "a5000", "ascend310", "rtx2080ti", "i9-9900x", "cortex-a72"


def _lavin(row):
    source = f"Lavin, arXiv 2404.03617, results: {row.model}"
    if row.size is not None and row.model not in lavin.SIZE_PRINTED:
        source += "; size by timm's MACs"
    ran = {"machine": A5000, "batch": lavin.BATCH, "dtype": lavin.DTYPE, "size": row.size}
    yield Published("parameters", row.parameters_m, "M", source)
    yield Published("macs", row.printed_gmacs, "G", source, size=row.size)
    timm = "" if row.size is None else ", as timm's tables"
    yield Published("macs", row.gmacs, "G", f"Lavin, arXiv 2404.03617, figures{timm}", "digitised", size=row.size)
    yield Published("top1", row.accuracy_percent, "%", source, size=row.size)
    yield Published("latency", row.latency_ms, "ms", f"{source}; of the batch", **ran)
    yield Published("throughput", row.images_per_s, "images/s", source, **ran)
    yield Published("efficiency", row.peak_percent, "%", f'{source}, "% Peak"', **ran)


def _fasternet(row):
    source = f"FasterNet, arXiv 2303.03667, Table 3: {row.model}"
    ran = {"dtype": "float32", "size": fasternet.SIZE}
    yield Published("parameters", row.parameters_m, "M", source)
    yield Published("macs", row.gmacs, "G", source, size=fasternet.SIZE)
    yield Published("top1", row.accuracy_percent, "%", source, size=fasternet.SIZE)
    yield Published("throughput", row.gpu_images_per_s, "images/s", source, machine=GPU, batch=fasternet.GPU_BATCH, **ran)
    yield Published("latency", row.cpu_ms, "ms", f"{source}; one thread", machine=CPU, batch=1, **ran)
    if row.arm_ms is not None:
        yield Published("latency", row.arm_ms, "ms", f"{source}; one thread", machine=ARM, batch=1, **ran)


def _isynet(row):
    source = f"README of ISyNet's release: {row.model}"
    ran = {"machine": ASCEND, "batch": isynet.BATCH, "dtype": isynet.DTYPE, "size": isynet.SIZE}
    yield Published("parameters", row.parameters_m, "M", source)
    yield Published("macs", row.readme_gmacs, "G", f"{source}; not at {isynet.SIZE} px")
    yield Published("top1", row.accuracy_percent, "%", source, size=isynet.SIZE)
    if row.paper_accuracy_percent is not None:
        yield Published("top1", row.paper_accuracy_percent, "%", "arXiv 2109.01932, as paperswithcode lists it", size=isynet.SIZE)
    yield Published("latency", row.latency_ms, "ms", f"{source}; of one image, as inferred", **ran)


def _torchvision(row):
    source = f"torchvision 0.28, metadata: {row.weights}"
    yield Published("parameters", row.parameters, "", source)
    yield Published("macs", row.gmacs, "G", f"{source}; without norms", size=row.size)
    yield Published("top1", row.accuracy_percent, "%", source, size=row.size)


def _convnext_v2(row):
    source = "README of ConvNeXt-V2's release, fine-tuned on ImageNet-1k"
    yield Published("parameters", row.parameters_m, "M", source)
    yield Published("macs", row.gmacs, "G", source if row.with_norms else f"{source}; without norms", size=row.size)
    yield Published("top1", row.accuracy_percent, "%", source, size=row.size)


def _timm(row):
    source = "timm, tables of its results"
    yield Published("parameters", row.parameters_m, "M", source)
    if row.gmacs is not None:
        yield Published("macs", row.gmacs, "G", source, size=row.size)
        yield Published("top1", row.accuracy_percent, "%", source, size=row.size)


_TABLES = (
    (libraries.TORCHVISION, _torchvision),
    (libraries.TIMM, _timm),
    (libraries.CONVNEXT_V2, _convnext_v2),
    (lavin.ROWS, _lavin),
    (fasternet.NETWORKS, _fasternet),
    (isynet.ROWS, _isynet),
)


def _by_name():
    found = {}
    for table, records in _TABLES:
        for row in table:
            if row.network is not None:
                found.setdefault(row.network, []).extend(records(row))
    return {name: tuple(records) for name, records in found.items()}


PUBLISHED = _by_name()
"""{name of a network: its Published records}."""
