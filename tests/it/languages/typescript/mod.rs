//! TypeScript.

mod later;

use std::path::Path;

use super::project::Project;
use crate::support::toolchains;

/// As after `npm install`.
fn project() -> Project {
    install(Project::new("typescript"), &toolchains::node_modules())
}

fn project_without_wit() -> Project {
    install(Project::without_wit("typescript"), &toolchains::node_modules_without_wit())
}

fn install(project: Project, modules: &Path) -> Project {
    let installed = std::os::unix::fs::symlink(modules, project.path("node_modules"));
    installed.expect("a link is made");
    project
}

#[test]
fn a_typescript_project_works_from_new_to_call() {
    let project = project();
    project.works();
    let tested = project.test("npm", &["test"]);
    assert!(tested.contains("pass 2") && tested.contains("fail 0"), "{tested}");
}

#[test]
fn a_wrong_type_fails_the_build() {
    let project = project();
    project.edit("src/app.ts", "return `Hello, ${name}!`;", "return name.length;");
    let output = project.run(["build"]).expect(78);
    for text in ["src/app.ts", "error TS2322", "error: `tsc --project . --noEmit` failed"] {
        assert!(output.stderr.contains(text), "{text:?} is not in {}", output.stderr);
    }
}

#[test]
fn a_typescript_project_without_wit_works_from_new_to_call() {
    let project = project_without_wit();
    project.works();
    let tested = project.test("npm", &["test"]);
    assert!(tested.contains("pass 3") && tested.contains("fail 0"), "{tested}");
    let wit = project.run(["wit"]).expect(0);
    assert!(
        wit.stdout().contains("centroid: func(points: list<point>) -> result<point, string>;"),
        "{wit:?}"
    );
}

/// Tells what a task sees of chance and time.
const SEEN: &str = r#"{
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  const isOrderly = performance.now() >= 0 && performance.now() < 60_000;
  return [Math.random(), crypto.randomUUID(), bytes.join(), isOrderly].join(" ");
}"#;

#[test]
fn every_instance_has_random_numbers_and_a_clock_of_its_own() {
    for project in [project(), project_without_wit()] {
        project.edit("src/app.ts", "return `Hello, ${name}!`;", SEEN);
        project.run(["build"]).expect(0);
        project.gives_each_instance_its_own("greet");
    }
}

/// Every type, and errors of every kind, through a child and back.
const KINDS: &str = r#"
import { asCompleted, gather, submit, submitAll, submitWith, TaskFailed } from "wasm-runner";
import type { char, f32, Flags, s64, Throws, u32, u64, u8 } from "wasm-runner";

/** A round thing. */
export interface Circle {
  radius: number;
}
type Suit = "clubs" | "red-hearts";
type Access = Flags<"read" | "writeAll">;
type Shape = { tag: "circle"; val: Circle } | { tag: "nothing" };
interface Everything {
  aBool: boolean;
  anInt: s64;
  aByte: u8;
  aFloat: f32;
  aNumber: number;
  aChar: char;
  /** Any text. */
  aString: string;
  raw: Uint8Array;
  items: Circle[];
  pair: [u32, string];
  maybe: string | null;
  shapes: readonly Shape[];
  suit: Suit;
  access: Access;
}
type BadThing = { tag: "too-large"; val: u64 } | { tag: "wrong" };

/** Returns it. */
export function same(value: Everything): Everything {
  return value;
}

export function fail(which: u32): Throws<void, BadThing> {
  if (which === 0) throw { tag: "too-large", val: 7 };
  if (which === 1) throw { tag: "wrong" };
  if (which === 2) throw new RangeError("neither");
}

export function ask(value: Everything, which: u32): [Everything, string] {
  const back = submit(same, value).result();
  if (!(back.raw instanceof Uint8Array)) throw new Error("raw");
  try {
    submit(fail, which).result();
    return [back, "fine"];
  } catch (error) {
    return [back, error instanceof TaskFailed ? error.kind : JSON.stringify(error)];
  }
}

export function double(n: u32): u32 {
  return 2 * n;
}

export function race(n: u32): u32[] {
  const children = Array.from({ length: n }, (_, index) => submit(double, index));
  return [...asCompleted(children)].map((one) => one.result()).sort((a, b) => a - b);
}

export function several(n: u32): u32[] {
  const all = gather(submitAll(double, Array.from({ length: n }, (_, index) => [index] as [number])));
  return [...all, submitWith({ priority: 5, labels: [["a", "b"]] }, double, 4).result()];
}
export const notATask = 5;
"#;

#[test]
fn values_of_every_type_and_errors_of_every_kind_come_back_from_a_child() {
    let project = project_without_wit();
    std::fs::write(project.path("src/app.ts"), KINDS).expect("written");
    std::fs::remove_dir_all(project.path("test")).expect("removed");
    project.run(["build"]).expect(0);
    let value = r#"{"a-bool":true,"an-int":-1,"a-byte":2,"a-float":0.5,"a-number":"NaN","a-char":"é","a-string":"s","raw":[0,255],"items":[{"radius":1.0}],"pair":[1,"a"],"maybe":null,"shapes":["nothing",{"circle":{"radius":"Infinity"}}],"suit":"red-hearts","access":["write-all"]}"#;
    let said = [r#"{\"tag\":\"too-large\",\"val\":7}"#, r#"{\"tag\":\"wrong\"}"#, "trapped", "fine"];
    for (which, said) in said.into_iter().enumerate() {
        let output = project.run(["call", "ask", &format!("[{value},{which}]")]).expect(0);
        assert_eq!(output.stdout(), format!("[{value},\"{said}\"]\n"));
    }
    let failed = project.run(["call", "fail", "[0]", "--json"]).expect(1).json();
    assert_eq!(failed["failure"]["error"], serde_json::json!({"too-large": 7}));
    assert_eq!(project.run(["call", "race", "[4]"]).expect(0).stdout(), "[0,2,4,6]\n");
    assert_eq!(project.run(["call", "several", "[4]"]).expect(0).stdout(), "[0,2,4,6,8]\n");
    // The names of parameters are those of the code, whatever their types are called.
    project.run(["call", "same", &format!(r#"{{"value": {value}}}"#)]).expect(0);
}

#[test]
fn types_without_a_wit_type_are_named_with_their_place() {
    let project = project_without_wit();
    let app = "\
import { remote, type Flags, type u32 } from \"wasm-runner\";
interface Tree { name: string; children: Tree[] }
export function plant(tree: Tree): void {}
export function any(what: Map<string, u32>): void {}
export function untold(n: u32) { return n; }
export function some(n?: u32): void {}
export function pick(from: \"a\" | \"b\"): void {}
export function* later(): Generator<u32> {}
interface Odd { snake_case: string }
export function odd(odd: Odd): void {}
export function flagged(access: Flags<\"read\">): void {}
export const away = remote<(n: u32) => u32>(\"add\");
export const nothing = remote(\"local:other/tasks.add\");
";
    std::fs::write(project.path("src/app.ts"), app).expect("written");
    std::fs::remove_dir_all(project.path("test")).expect("removed");
    project.edit("package.json", "local:", "Local:");
    let output = project.run(["build"]).expect(78);
    for text in [
        "error: src/app.ts:2:1: `Tree` contains itself, a type of WIT can't",
        "error: src/app.ts:4:27: `Map<string, u32>` has no type in WIT (possible are boolean,",
        "error: src/app.ts:5:17: `untold` does not say what it returns",
        "error: src/app.ts:6:22: WIT has no parameters that may be left out: write `T | null`",
        "error: src/app.ts:7:28: a type like this needs a name: `type Name = …`",
        "error: src/app.ts:8:1: `later` yields, a task returns one value: return an array",
        "error: src/app.ts:9:17: `snake_case` can't be a name in WIT",
        "error: src/app.ts:11:33: a type like this needs a name: `type Name = …`",
        "error: src/app.ts:12:21: `remote` wants the name of a task: `remote<…>(\"local:other/tasks.add\")`",
        "error: src/app.ts:13:24: `remote` wants the types of the task",
        "error: package.json: `wasm-runner.package` is missing or wrong",
        "error: `node build/sdk/describe.mjs` failed",
    ] {
        assert!(output.stderr.contains(text), "{text:?} is not in {}", output.stderr);
    }
}
