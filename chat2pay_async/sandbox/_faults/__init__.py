"""The things that go wrong: plans, draws and spoilt replies."""
