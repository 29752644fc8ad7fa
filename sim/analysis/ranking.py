"""How well a number ranks latencies: Kendall's tau."""


def kendall_tau(predicted, measured):
    """Kendall's tau-b of two lists of numbers of one length, two or more: 1 where they order alike, -1 where one reverses the other.

    Source: Kendall, Biometrika 33 (1945); computed by scipy, of the extra `ranking`. ValueError for lists that have no order.
    """
    try:
        from scipy.stats import kendalltau
    except ImportError:
        raise ImportError("Kendall's tau needs scipy: pip install scipy (the extra ranking)") from None
    predicted, measured = list(predicted), list(measured)
    for name, values in (("predicted", predicted), ("measured", measured)):
        if len(values) < 2 or len(set(values)) < 2:
            raise ValueError(f"{name} = {values!r}: must have two numbers or more that differ")
    if len(predicted) != len(measured):
        raise ValueError(f"predicted has {len(predicted)} numbers, measured {len(measured)}: must be as many")
    return float(kendalltau(predicted, measured).statistic)
