"""How properties are tried: a machine that is slow, or busy, is no counterexample."""

from hypothesis import settings

settings.register_profile("ebbtide", deadline=None)
settings.load_profile("ebbtide")
