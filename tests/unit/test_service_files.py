"""Service files: what is wrong is told with file, line and field, all at once, and nothing is sent then."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from hil.errors import BadServiceFile
from hil.service_files import read
from hil.toml_places import places

GOOD = """\
# a group of two
[[service]]
name = "licence"
allowable_nodes = [0, 1]
start_command = ["/shared/licence", "start"]

[[service]]
name = "log"
parent = "licence"
start_command = "/shared/log 'with blanks' start"
"""


def file(directory: Path, text: str, name: str = "it.toml") -> Path:
    path = directory / name
    path.write_text(text, encoding="utf-8")
    return path


def problems(directory: Path, text: str, known: dict[str, str] | None = None) -> list[str]:
    """Without the directory's name."""
    with pytest.raises(BadServiceFile) as caught:
        read([file(directory, text)], 3, known)
    assert caught.value.exit_status == 2
    return str(caught.value).replace(f"{directory}/", "").splitlines()


def test_a_good_file_is_what_is_sent(tmp_path: Path) -> None:  # S9.2, S9.4, S9.5
    licence, log = read([file(tmp_path, GOOD)], 3)
    assert licence == {
        "name": "licence",
        "allowable_nodes": [0, 1],
        "start_command": ["/shared/licence", "start"],
    }
    assert log["parent"] == "licence"
    assert log["start_command"] == ["/shared/log", "with blanks", "start"]


def test_a_child_may_be_in_another_file_or_in_the_cluster(tmp_path: Path) -> None:
    one = file(tmp_path, '[[service]]\nname = "child"\nparent = "root"\n', "one.toml")
    two = file(tmp_path, '[[service]]\nname = "root"\n', "two.toml")
    assert [table["name"] for table in read([one, two], 3)] == ["child", "root"]
    assert [table["name"] for table in read([one], 3, {"root": ""})] == ["child"]


HEAD = '[[service]]\nname = "a"\n'


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('[[service]]\nname = "a"\nstart_command = [\n', "it.toml:4: not TOML: "),
        ('[[service]\nname = "a"\n', "it.toml:1: not TOML: "),
        ('[[service]]\nname = "a"\nname = "b"\n', "it.toml:3: not TOML: Cannot overwrite a value"),
        ("", "it.toml:1: there is no [[service]] in this file"),
        ("[service]\n", "it.toml:1: service: each service begins with [[service]], in two brackets"),
        ("\nservice = 3\n", "it.toml:2: service: 3 (legal: [[service]] tables)"),
        (HEAD + "[[sevice]]\n", "it.toml:3: sevice: a service file has no such key (did you mean [[service]]?)"),
        ("[[service]]\n\nparent = 'b'\n", "it.toml:1: service: name: None (legal: 1 to 64 letters"),
        ("[[service]]\n\nname = 3\n", "it.toml:3: service: name: 3 (legal: "),
        (HEAD + "\nallowed_nodes = [0]\n", "it.toml:4: service 'a': allowed_nodes: is no field of a service (legal: "),
        (
            HEAD + 'alowable_nodes = "*"\n',
            "it.toml:3: service 'a': alowable_nodes: is no field of a service (did y",
        ),
        (HEAD + "allowable_nodes = [0,\n 3]\n", "it.toml:3: service 'a': allowable_nodes: 3 is no node of the"),
        (
            HEAD + 'allowable_nodes = ["n1"]\n',
            "it.toml:3: service 'a': allowable_nodes: 'n1' is no node of the cluster",
        ),
        (HEAD + "allowable_nodes = 1\n", "it.toml:3: service 'a': allowable_nodes: 1 (legal: a list of nodes"),
        (HEAD + "allowable_nodes = []\n", "it.toml:3: service 'a': allowable_nodes: empty"),
        (HEAD + "node_preferences = [1, 1]\n", "it.toml:3: service 'a': node_preferences: [1, 1] names a node twice"),
        (
            HEAD + "[service.node_preferences]\nunorderd = [1]\n",
            "it.toml:3: service 'a': node_preferences: {'unorderd': [1]} (legal: ",
        ),
        (HEAD + "node_preferences.unordered = [9]\n", "it.toml:3: service 'a': node_preferences: 9 is no node"),
        (
            HEAD + "allowable_nodes = [0]\nnode_preferences = [1]\n",
            "it.toml:4: service 'a': node_preferences: node 1 is not among allowable_nodes",
        ),
        (HEAD + 'auto_register = "yes"\n', "it.toml:3: service 'a': auto_register: 'yes' (legal: auto, manual, prev"),
        (HEAD + "placement_policy = 1\n", "it.toml:3: service 'a': placement_policy: 1 (legal: register_on_one, regi"),
        (HEAD + 'transfer_cost = "Free"\n', "it.toml:3: service 'a': transfer_cost: 'Free' (legal: costly, free)"),
        (HEAD + "maturity_count = 2.5\n", "it.toml:3: service 'a': maturity_count: 2.5 (legal: a whole number"),
        (HEAD + "maturity_time = -1\n", "it.toml:3: service 'a': maturity_time: -1 (legal: seconds"),
        (HEAD + "start_timeout = 0\n", "it.toml:3: service 'a': start_timeout: 0 (legal: seconds"),
        (HEAD + "start_command = []\n", "it.toml:3: service 'a': start_command: [] (legal: a list of words"),
        (HEAD + "start_command = ['web']\n", "it.toml:3: service 'a': start_command: 'web' is not the full path"),
        (HEAD + 'stop_command = "/a \'b"\n', "it.toml:3: service 'a': stop_command: \"/a 'b\": No closing quotation"),
        (HEAD + "parent = 'b'\n", "it.toml:3: service 'a': parent: 'b' is no service"),
        (HEAD + "parent = 'a'\n", "it.toml:3: service 'a': parent: a cycle: a -> a"),
        (HEAD + "events = 3\n", "it.toml:3: service 'a': events: no list of tables"),
    ],
)
def test_what_is_wrong_is_told_with_its_line_and_field(tmp_path: Path, text: str, said: str) -> None:
    (told,) = problems(tmp_path, text)
    assert told.startswith(said)


def test_a_child_that_chooses_is_told_each_of_its_choosing_parameters(tmp_path: Path) -> None:  # S9.4
    text = HEAD + '[[service]]\nname = "b"\nmaturity_count = 2\nparent = "a"\ntransfer_cost = "free"\n'
    why = "a child has no choosing parameters: it goes where 'a' goes"
    assert problems(tmp_path, text) == [
        f"it.toml:5: service 'b': maturity_count: {why}",
        f"it.toml:7: service 'b': transfer_cost: {why}",
    ]


def test_a_cycle_of_parents_is_told_of_each_service_in_it(tmp_path: Path) -> None:  # S9.4
    text = "".join(f'[[service]]\nname = "{one}"\nparent = "{above}"\n' for one, above in ("ab", "bc", "ca"))
    assert problems(tmp_path, text) == [
        "it.toml:3: service 'a': parent: a cycle: a -> b -> c -> a",
        "it.toml:6: service 'b': parent: a cycle: b -> c -> a -> b",
        "it.toml:9: service 'c': parent: a cycle: c -> a -> b -> c",
    ]


def test_two_services_of_one_name_are_told_with_the_place_of_the_first(tmp_path: Path) -> None:
    one = file(tmp_path, '[[service]]\nname = "a"\n', "one.toml")
    two = file(tmp_path, '\n[[service]]\nname = "b"\n[[service]]\nname = "a"\n', "two.toml")
    with pytest.raises(BadServiceFile) as caught:
        read([one, two], 3, {"b": ""})
    assert str(caught.value).splitlines() == [
        f"{two}:3: service 'b': name: there is such a service already (remove it first)",
        f"{two}:5: service 'a': name: another service has this name: {one}:2",
    ]


def test_everything_that_is_wrong_in_all_files_is_told_at_once(tmp_path: Path) -> None:
    broken = file(tmp_path, "[[service]]\nname = \n", "broken.toml")
    text = "[[service]]\nname = 'a'\nfoo = 1\nstart_timeout = 'x'\n[[service]]\nname = 'b'\nparent = 'in broken'\n"
    wrong = file(tmp_path, text, "wrong.toml")
    with pytest.raises(BadServiceFile) as caught:
        read([wrong, broken, tmp_path / "none.toml"], 3)
    lines = [line.removeprefix(f"{tmp_path}/") for line in str(caught.value).splitlines()]
    places_told = [line.partition(" ")[0] for line in lines]
    assert places_told == ["wrong.toml:3:", "wrong.toml:4:", "broken.toml:2:", "none.toml:"]
    assert "No such file" in lines[-1]


def test_a_file_that_is_not_utf_8_is_told_with_the_line(tmp_path: Path) -> None:
    path = tmp_path / "it.toml"
    path.write_bytes(b'[[service]]\nname = "\xff"\n')
    with pytest.raises(BadServiceFile, match=r"it\.toml:2: not UTF-8"):
        read([path], 3)


HARD = '''\
title = "x"
[[service]]   # [[service]]
name = "[[service]]"
stop_command = """
[[service]]
name = 1
"""
start_command = [
  "a", # ]
[["service"]], [
  ]
]
"quoted" = 1
node_preferences . unordered = [1]

[other]
name = 3
[[ service ]]
'name' = 'b' # "
  notify_command = \'\'\'
=\'\'\'
[[service.events]]
name = "deep"
[service.table]
x = 1
[[service]]
name = { a = 1, b = [
2] }
last = 1
'''


def test_the_place_of_a_field_is_found_through_strings_arrays_and_tables() -> None:
    tomllib.loads(HARD)
    found = places(HARD, "service")
    assert found.top == {"title": 1, "service": 2, "other": 16}
    assert found.tables == [
        {
            "": 2,
            "name": 3,
            "stop_command": 4,
            "start_command": 8,
            "quoted": 13,
            "node_preferences": 14,
            "node_preferences.unordered": 14,
        },
        {"": 18, "name": 19, "notify_command": 20, "events": 22, "events.name": 23, "table": 24, "table.x": 25},
        {"": 26, "name": 27, "last": 29},
    ]
    assert found.line(1, "events.name.first") == 23
    assert found.line(1, "events.in.path") == 22
    assert found.line(0, "nothing") == 2
    assert found.line(7, "nothing") == 1


def test_a_field_that_several_events_have_is_told_at_the_first_event() -> None:
    text = '[[service]]\n[[service.events]]\nname = "a"\nin.x = 1\n[[service.events]]\nname = "b"\n'
    found = places(text, "service")
    assert (found.line(0, "events.name"), found.line(0, "events.in.x"), found.line(0, "events.in")) == (2, 4, 4)


def test_lines_are_the_same_in_a_file_with_carriage_returns(tmp_path: Path) -> None:
    path = tmp_path / "it.toml"
    path.write_bytes(b'[[service]]\r\nname = "a"\r\nfoo = 1\r\n')
    with pytest.raises(BadServiceFile, match=r"it\.toml:3: service 'a': foo"):
        read([path], 3)
