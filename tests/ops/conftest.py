"""What the primitives' tests share."""

import logging

import pytest

from diffrast.ops import context


@pytest.fixture
def fresh_log(monkeypatch, caplog):
    """As in a new process: nothing has been said yet."""
    monkeypatch.setattr(context, "_said", set())
    caplog.set_level(logging.INFO, logger="diffrast")
    return caplog
