"""Network Dissection: label the hidden units of vision networks with visual concepts."""

__version__ = "0.1.0"
