"""A network of a few thousand multiply-adds, of which little has to be compiled."""

from refconv.networks.language import Classifier, Conv, Mean, Stage
from refconv.networks.network_data import Network

TINY = Network("tiny", "tiny", 8, (Stage("stem", (Conv(16, 3, 2, "relu"),)), Stage("head", (Mean(), Classifier(8)))))
