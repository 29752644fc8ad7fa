"""How MobileNet and EfficientNet round numbers of channels."""


def nearest_multiple(channels, of=8):
    """The multiple of `of` nearest to a number of channels, at least one and never less than 90 % of it.

    Source: the code of MobileNet (tensorflow/models, slim/nets/mobilenet, _make_divisible), which EfficientNet's and torchvision's follow.
    """
    rounded = max(of, int(channels + of / 2) // of * of)
    return rounded if rounded >= 0.9 * channels else rounded + of
