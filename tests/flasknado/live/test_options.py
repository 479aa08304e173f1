"""The settings of the live part."""

from __future__ import annotations

import pytest

from flasknado.errors import ConfigurationError
from flasknado.live.options import LiveOptions


def test_options_unset_are_the_defaults() -> None:
    assert LiveOptions.from_config({"SECRET_KEY": "x"}) == LiveOptions()


def test_options_set_are_taken() -> None:
    options = LiveOptions.from_config({"LIVE_RETENTION_EVENTS": 7, "LIVE_HEARTBEAT_S": 0.5})
    assert (options.retention_events, options.heartbeat_s) == (7, 0.5)


@pytest.mark.parametrize("key", ["LIVE_CHANNEL_RETENTION_S", "LIVE_CHANNEL_RETENTION_EVENTS"])
@pytest.mark.parametrize("value", [["chat:*"], {"chat:*": 0}, {"chat:*": "5"}, {7: 5}, 5])
def test_retention_of_channels_that_is_none_is_refused(key: str, value: object) -> None:
    with pytest.raises(ConfigurationError, match=key):
        LiveOptions.from_config({key: value})


def test_retention_of_a_channel_beyond_that_of_the_log_is_refused() -> None:
    config = {"LIVE_RETENTION_S": 60, "LIVE_CHANNEL_RETENTION_S": {"chat:*": 61}}
    with pytest.raises(ConfigurationError, match="'chat:\\*' has 61 s, and the log 60 s"):
        LiveOptions.from_config(config)


@pytest.mark.parametrize("value", [0, -1, 1.5, "5", True, None])
def test_option_that_counts_and_is_no_positive_whole_number_is_refused(value: object) -> None:
    with pytest.raises(
        ConfigurationError, match=r"LIVE_MAX_CHANNELS must be a positive whole number"
    ):
        LiveOptions.from_config({"LIVE_MAX_CHANNELS": value})


@pytest.mark.parametrize("value", [0, -0.1, "5", float("inf"), float("nan"), True])
def test_option_in_seconds_that_is_no_positive_number_is_refused(value: object) -> None:
    with pytest.raises(ConfigurationError, match=r"LIVE_HEARTBEAT_S must be a positive number"):
        LiveOptions.from_config({"LIVE_HEARTBEAT_S": value})
