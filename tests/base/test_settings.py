"""Settings are checked when they are made, and what is refused is one sentence."""

from typing import Literal

import pytest

from dmaf_lite.base.settings import (
    SettingsError,
    changed,
    checked,
    choose,
    from_mapping,
    read_settings,
    read_yaml,
    to_plain,
)


@checked
class Inner:
    flip: float = 0.5

    def __post_init__(self) -> None:
        if self.flip > 1:
            raise ValueError(f"flip is {self.flip}; expected at most 1")


@checked
class Outer:
    name: str = "a"
    crop: tuple[int, int, int] = (8, 8, 8)
    inner: Inner = Inner()
    several: tuple[Inner, ...] = ()
    mode: Literal["none", "both"] = "none"
    most: int | None = None


def test_nested_values_are_read_and_written_back():
    values = {"name": "b", "crop": [1, 2, 3], "inner": {"flip": 1}, "several": [{"flip": 0.25}], "mode": "both",
              "most": 3}
    settings = from_mapping(Outer, values)
    assert settings == Outer("b", (1, 2, 3), Inner(1), (Inner(0.25),), "both", 3)
    assert to_plain(settings) == values and from_mapping(Outer, to_plain(settings)) == settings
    assert hash(settings) == hash(from_mapping(Outer, values))
    with pytest.raises(AttributeError):
        settings.name = "c"


@pytest.mark.parametrize("values, sentence", [
    ({"nam": "b"}, "Outer: nam is not known; the settings there are name, crop, inner, several, mode, most"),
    ({"inner": {"flop": 1}}, "Outer: inner.flop is not known; the settings there are flip"),
    ({"several": [{}, {"flop": 1}]}, "Outer: several.1.flop is not known; the settings there are flip"),
    ({"name": 3}, "Outer: name is 3; expected a valid string"),
    ({"crop": ["a", 2, 3]}, "Outer: crop.0 is 'a'; expected a valid integer"),
    ({"crop": [1, 2]}, "Outer: crop.2 is missing"),
    ({"crop": [1, 2, 3.5]}, "Outer: crop.2 is 3.5; expected a valid integer"),
    ({"mode": "on"}, "Outer: mode is 'on'; expected one of none or both"),
    ({"mode": False}, "Outer: mode is False; expected one of none or both; YAML reads a bare on, off"),
    ({"inner": {"flip": 2}}, "Outer: inner: flip is 2.0; expected at most 1"),
    ({"inner": 3}, "Outer: inner is 3; expected"),
    ({1: 3}, "Outer: the key 1 is no name"),
])
def test_what_is_wrong_is_said_in_one_sentence(values, sentence):
    with pytest.raises(SettingsError) as caught:
        from_mapping(Outer, values)
    assert str(caught.value).startswith(sentence) and "\n" not in str(caught.value)


def test_a_class_refuses_the_same_as_a_file():
    with pytest.raises(SettingsError, match="mode is 'on'"):
        Outer(mode="on")
    with pytest.raises(SettingsError, match="flip is 3"):
        Inner(flip=3)


def test_single_settings_are_replaced_and_checked():
    assert changed(Outer(), {"crop": [4, 4, 4]}).crop == (4, 4, 4)
    with pytest.raises(SettingsError, match="corp is not known; the settings there are name"):
        changed(Outer(), {"corp": [4, 4, 4]})
    assert choose({"wide": Outer(name="w")}, "wide", {"most": 2}) == Outer(name="w", most=2)
    for name in ("narrow", None, ["wide"]):
        with pytest.raises(SettingsError, match="choose one of wide"):
            choose({"wide": Outer()}, name, {})


def test_the_file_is_named(tmp_path):
    path = tmp_path / "profile.yaml"
    path.write_text("nam: b\n")
    with pytest.raises(SettingsError, match=r"profile\.yaml: Outer: nam is not known"):
        read_settings(Outer, path)
    path.write_text("name: b\nmost: 2\n")
    assert read_settings(Outer, path, most=5) == Outer("b", most=5)


@pytest.mark.parametrize("text", ["- a\n- b\n", "a: [1\n", "!!python/object/apply:os.getcwd []\n", "\xff: 1"])
def test_a_bad_file_is_refused_by_name_in_one_line_and_never_executed(tmp_path, text):
    path = tmp_path / "profile.yaml"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(ValueError, match=r"profile\.yaml") as caught:
        read_yaml(path)
    assert "\n" not in str(caught.value)
