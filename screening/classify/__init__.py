"""The statistical classifier: what it sees of a message, its model, its training."""

from screening.classify.classifier import Classifier
from screening.classify.model import Model, ModelError

__all__ = ["Classifier", "Model", "ModelError"]
