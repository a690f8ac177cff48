"""The paper's network: `encode` what is there, `decode` any part of it.  It knows no loss."""

from dmaf_lite.nn.contract import Features, Pairs, Prediction

__all__ = ["Features", "Pairs", "Prediction"]
