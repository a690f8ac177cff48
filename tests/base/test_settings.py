"""Settings are read strictly."""

from dataclasses import dataclass, field

import pytest

from dmaf_lite.base.settings import from_mapping, read_yaml, to_plain


@dataclass(frozen=True)
class Inner:
    flip: float = 0.5


@dataclass(frozen=True)
class Outer:
    name: str = "a"
    crop: tuple[int, int, int] = (8, 8, 8)
    inner: Inner = field(default_factory=Inner)


def test_nested_values_are_read_and_written_back():
    values = {"name": "b", "crop": [1, 2, 3], "inner": {"flip": 1}}
    settings = from_mapping(Outer, values)
    assert settings == Outer("b", (1, 2, 3), Inner(1))
    assert to_plain(settings) == values


@pytest.mark.parametrize("values, found", [
    ({"nam": "b"}, "nam"), ({"name": 3}, "name"), ({"inner": {"flop": 1}}, "flop"), ({"crop": ["a", 2, 3]}, "crop"),
])
def test_an_unknown_key_or_a_wrong_type_is_named(values, found):
    with pytest.raises(ValueError, match=found):
        from_mapping(Outer, values)


def test_the_error_lists_the_settings_there_are():
    with pytest.raises(ValueError, match="name, crop, inner"):
        from_mapping(Outer, {"nam": "b"})


@pytest.mark.parametrize("text", ["- a\n- b\n", "a: [1\n", "!!python/object/apply:os.getcwd []\n"])
def test_a_bad_file_is_refused_by_name_and_never_executed(tmp_path, text):
    path = tmp_path / "profile.yaml"
    path.write_text(text)
    with pytest.raises(ValueError, match=r"profile\.yaml"):
        read_yaml(path)
