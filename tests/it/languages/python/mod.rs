//! Python.

mod later;

use super::project::Project;
use crate::support::toolchains;

#[test]
fn a_python_project_works_from_new_to_call() {
    let project = Project::new("python").with_tools(&toolchains::python());
    project.works();
    let tested = project.test("python", &["-B", "-m", "unittest", "discover", "tests"]);
    assert!(tested.contains("Ran 2 tests") && tested.contains("OK"), "{tested}");
    // What Python has to say of an exception that nobody handles.
    let trapped = project.run(["call", "square", "[65536]"]).expect(3);
    assert!(trapped.stderr.contains("OverflowError: 4294967296 needs more than 32 bits"), "{trapped:?}");
}

/// Tells what a task sees of chance, time and its environment.
const SEEN: &str = r#"print("first"); print("second", end="")
        own = [str(random.random()), str(uuid.uuid4()), secrets.token_hex(8)]
        is_now = at_build < time.time() and 0 <= time.monotonic() < 60
        return " ".join(own + [str(right).lower() for right in [is_now, os.environ == {"GIVEN": "yes"}]])"#;

#[test]
fn every_instance_has_random_numbers_a_clock_and_an_environment_of_its_own_and_its_output_is_kept() {
    let project = Project::new("python").with_tools(&toolchains::python());
    let imports = "import os\nimport random\nimport secrets\nimport time\nimport uuid\n\nimport geometry\n\n\
                   at_build = time.time()\nrandom.random()";
    project.edit("src/app.py", "import geometry", imports);
    project.edit("src/app.py", "return f\"Hello, {name}!\"", SEEN);
    let given = "[component.first-steps.environment]\nGIVEN = \"yes\"\n[component.";
    project.edit("wasm-runner.toml", "[component.", given);
    project.run(["build"]).expect(0);
    project.gives_each_instance_its_own("greet");
    project.writes("greet", "first\nsecond");
}

#[test]
fn a_module_that_fails_to_import_fails_the_build() {
    let project = Project::new("python").with_tools(&toolchains::python());
    project.edit("src/app.py", "import geometry", "import geometri");
    let output = project.run(["build"]).expect(78);
    for text in ["No module named 'geometri'", "error: `componentize-py "] {
        assert!(output.stderr.contains(text), "{text:?} is not in {}", output.stderr);
    }
    assert!(!project.path("build/first-steps.wasm").exists());
}

#[test]
fn a_python_project_without_wit_works_from_new_to_call() {
    let project = Project::without_wit("python").with_tools(&toolchains::python());
    project.works();
    let tested = project.test("python", &["-B", "-m", "unittest", "discover", "tests"]);
    assert!(tested.contains("Ran 3 tests") && tested.contains("OK"), "{tested}");
    let trapped = project.run(["call", "square", "[65536]"]).expect(3);
    assert!(trapped.stderr.contains("OverflowError: 4294967296 does not fit into u32"), "{trapped:?}");
    // The types are those of WIT to everybody else.
    let wit = project.run(["wit"]).expect(0);
    assert!(
        wit.stdout().contains("centroid: func(points: list<point>) -> result<point, string>;"),
        "{wit:?}"
    );
}

/// Every type, and errors of every kind, through a child and back.
const KINDS: &str = r#"
from dataclasses import dataclass
from enum import Enum, Flag, auto
from typing import Optional, Union

from wasm_runner import *

package("local:kinds@0.1.0")


class Suit(Enum):
    CLUBS = "c"
    RED_HEARTS = "h"


class Access(Flag):
    READ = auto()
    WRITE_ALL = 8
    BOTH = READ | WRITE_ALL
    RUN = 4


@dataclass
class Circle:
    """A round thing."""

    r: float


@dataclass
class Nothing:
    pass


Shape = Union[Circle, Nothing]


@dataclass
class BadThing(Exception):
    code: u32
    from_: str


class Plain(Exception):
    pass


@dataclass
class Everything:
    b: bool
    i: int
    n: u8
    f: f32
    c: char
    s: str
    raw: bytes
    items: list[Circle]
    pairs: dict[str, int]
    t: tuple[int, str]
    many: tuple[int, ...]
    o: Optional[int]
    shape: Shape
    either: int | str | bool
    suit: Suit
    access: Access
    nothing: Access


@task
def same(value: Everything) -> Everything:
    return value


@task(raises=(BadThing, Plain))
def fail(which: int):
    if which == 0:
        raise BadThing(7, "x")
    if which == 1:
        raise Plain("plainly")
    raise KeyError(which)


@task
def ask(value: Everything, which: int) -> tuple[Everything, str]:
    value = same.submit(value=value).result()
    assert isinstance(value.many, tuple) and isinstance(value.pairs, dict) and value.suit is Suit.RED_HEARTS
    assert value.access == Access.WRITE_ALL | Access.RUN and value.nothing == Access(0)
    try:
        fail.submit(which).result()
    except BadThing as error:
        return value, f"bad {error.code} {error.from_}"
    except Plain as error:
        return value, f"plain {error}"
    except TaskFailed as error:
        return value, error.kind


@task
def race(n: u32) -> list[int]:
    return sorted(one.result() for one in as_completed([double.submit(k) for k in range(n)]))


@task
def double(k: int) -> int:
    return 2 * k


@remote("local:kinds/tasks.double")
def doubled(k: int) -> int: ...


@task
def several(n: u32) -> list[int]:
    return [sum(double.map(range(n))), doubled(21), double.options(priority=5, labels={"a": "b"}).submit(4).result()]
"#;

#[test]
fn values_of_every_type_and_errors_of_every_kind_come_back_from_a_child() {
    let project = Project::without_wit("python").with_tools(&toolchains::python());
    std::fs::write(project.path("src/app.py"), KINDS).expect("written");
    project.run(["build"]).expect(0);
    let kinds = |task: &str, arguments: &str| {
        project.run(["--component", "kinds=build/kinds.wasm", "call", task, arguments])
    };
    std::fs::remove_file(project.path("wasm-runner.toml")).expect("removed");
    let value = r#"{"b":true,"i":-1,"n":2,"f":0.5,"c":"é","s":"s","raw":[0,255],"items":[{"r":1.0}],"pairs":[["k",1]],"t":[1,"a"],"many":[1,2],"o":null,"shape":"nothing","either":{"bool":true},"suit":"red-hearts","access":["write-all","run"],"nothing":[]}"#;
    for (which, said) in [(0, "bad 7 x"), (1, "plain plainly"), (2, "trapped")] {
        let output = kinds("ask", &format!("[{value},{which}]")).expect(0);
        assert_eq!(output.stdout(), format!("[{value},\"{said}\"]\n"));
    }
    let failed = kinds("fail", "[0]").expect(1);
    assert!(failed.stderr.contains(r#"{"bad-thing":{"code":7,"from":"x"}}"#), "{failed:?}");
    assert_eq!(kinds("race", "[4]").expect(0).stdout(), "[0,2,4,6]\n");
    assert_eq!(kinds("several", "[4]").expect(0).stdout(), "[12,42,8]\n");
}

#[test]
fn types_without_a_wit_type_are_named_with_their_place() {
    let project = Project::without_wit("python").with_tools(&toolchains::python());
    let app = "\
from dataclasses import dataclass; from enum import Flag
from wasm_runner import package, task

package('Local')

@dataclass
class Tree:
    name: str
    children: list['Tree']

@task
def plant(tree: Tree): pass

@task
def any(what: set[int], *more: int) -> int: ...

@task
def untyped(what): ...

@task
def vague(what: list) -> None: ...

@task
async def later() -> int: yield 1

class Many(Flag):
    locals().update({f'F{n}': 1 << n for n in range(33)})

@task
def flagged(many: Many): ...
";
    std::fs::write(project.path("src/app.py"), app).expect("written");
    let output = project.run(["build"]).expect(78);
    for text in [
        "error: src/app.py:9: `Tree` contains itself, a type of WIT can't",
        "error: src/app.py:15: the parameter `what` of `any` is a `set[int]`, which has no type in WIT (possible are bool,",
        "error: src/app.py:18: the parameter `what` of `untyped` has no type hint",
        "error: src/app.py:21: the parameter `what` of `vague` is a `list` of what? Write `list[…]`",
        "error: src/app.py:24: `later` yields, a task returns one value: return a list",
        "error: src/app.py:26: `Many` has 33 flags, a type of WIT no more than 32",
        "error: `Local` can't be a package",
        "error: `python3 -B -m wasm_runner._build app build` failed",
    ] {
        assert!(output.stderr.contains(text), "{text:?} is not in {}", output.stderr);
    }
    std::fs::write(project.path("src/app.py"), "import wasm_runner\nimport nothing_like_it\n")
        .expect("written");
    let output = project.run(["build"]).expect(78);
    for text in ["src/app.py\", line 2", "No module named 'nothing_like_it'", "can't be imported: see above"]
    {
        assert!(output.stderr.contains(text), "{text:?} is not in {}", output.stderr);
    }
}
