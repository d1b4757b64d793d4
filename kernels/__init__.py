"""GPU kernels, installed as ``pydissect.kernels``."""
