"""GPU kernels in Triton, installed as ``pydissect.kernels``; import a module of it only where Triton is installed.

``scan`` finds the words that may have pixels, ``count`` interpolates and counts these, ``areas`` adds up what
needs no pixels. Numerics: ``interpolate``, ``floats``, ``bits``.
"""
