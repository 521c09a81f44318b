//! JavaScript and TypeScript: componentize-qjs puts QuickJS and the modules into
//! one component, with the modules evaluated already.

use std::path::PathBuf;

use crate::authoring::AuthoringError;
use crate::authoring::build::tool::{self, Tool};
use crate::authoring::language::{File, Language, files};
use crate::authoring::project::{Host, Project};
use crate::authoring::wit::names;

/// JavaScript.
pub const JAVASCRIPT: Language = Language {
    name: "javascript",
    alias: Some("js"),
    about: "JavaScript, with componentize-qjs",
    marks: &["package.json"],
    instead_of: None,
    prepare: Some("npm install"),
    reserved: "async await break case class const continue default delete do else enum export false for if import \
        in let new return static super true",
    files: files!(
        "templates/javascript": "README.md", "gitignore" => ".gitignore", "package.json", "src/app.js",
        "src/geometry.js", "test/geometry.test.js";
    ),
    files_without_wit: None,
    build,
};

/// TypeScript.
pub const TYPESCRIPT: Language = Language {
    name: "typescript",
    alias: Some("ts"),
    about: "TypeScript, with tsc, esbuild and componentize-qjs",
    marks: &["tsconfig.json"],
    instead_of: Some(JAVASCRIPT.name),
    files: files!(
        "templates/typescript": "README.md", "gitignore" => ".gitignore", "package.json", "src/app.ts",
        "src/geometry.ts", "src/wasm-runner-task.d.ts", "test/geometry.test.ts", "tsconfig.json";
    ),
    files_without_wit: Some(files!(
        "templates/typescript-no-wit": "README.md", "gitignore" => ".gitignore", "package.json", "src/app.ts",
        "test/app.test.ts", "tsconfig.json";
    )),
    build: build_typescript,
    ..JAVASCRIPT
};

/// The module that tasks without WIT are written with, and the program that makes WIT of their types.
const SDK: &[File] = files!("typescript": "describe.mjs", "event-loop.ts", "wasm-runner.ts");

/// The package of random numbers, and what makes each instance have its own.
const RANDOM: &str = "wasi:random";
const INSTANCE: &[File; 2] = files!("javascript": "random.wit", "instance.mjs");

const COMPONENTIZE: Tool = of_npm("componentize-qjs");
const TSC: Tool = of_npm("tsc");
const ESBUILD: Tool = of_npm("esbuild");
const NODE: Tool = Tool { name: "node", alias: None, within: None, install: "apt install nodejs npm" };

const fn of_npm(name: &'static str) -> Tool {
    Tool { name, alias: None, within: Some("node_modules/.bin"), install: "npm install" }
}

/// Builds the module `src/app.js`; the component gets the name of the world.
fn build(project: &Project, host: &dyn Host) -> Result<PathBuf, AuthoringError> {
    componentize(project, host, &project.world()?, "wit", "src/app.js")
}

/// Checks the types, bundles what `src/app.ts` imports, and goes on as for
/// JavaScript.
fn build_typescript(project: &Project, host: &dyn Host) -> Result<PathBuf, AuthoringError> {
    let has_wit = project.has_wit()? || !project.path("src/app.ts").is_file();
    let world = if has_wit { Some(project.world()?) } else { None };
    // First of all tools that are needed, so that nothing is done in vain.
    COMPONENTIZE.command(project)?;
    let mut esbuild = ESBUILD.command(project)?;
    if !has_wit {
        project.install("build/sdk", SDK)?;
    }
    tool::run(host, TSC.command(project)?.args(["--project", ".", "--noEmit"]))?;
    let (world, wit, entry) = match world {
        Some(world) => (world, "wit", "src/app.ts"),
        None => (describe(project, host)?, "build/wit", "build/entry.ts"),
    };
    let bundle = format!("build/{world}.mjs");
    esbuild.args([entry, "--bundle", "--format=esm", "--target=es2023", "--log-level=warning"]);
    esbuild.arg(format!("--outfile={bundle}"));
    if !has_wit {
        // Nothing in the engine runs what promises wait for: `sdk/typescript/event-loop.ts` does,
        // and it knows only of those that it makes itself.
        for feature in ["async-await", "async-generator", "for-await"] {
            esbuild.arg(format!("--supported:{feature}=false"));
        }
    }
    // What WIT declares is no module that could be bundled.
    for namespace in names::namespaces(&project.path(wit))? {
        esbuild.arg(format!("--external:{namespace}:*"));
    }
    tool::run(host, &mut esbuild)?;
    componentize(project, host, &world, wit, &bundle)
}

/// Makes WIT of the types in `src/app.ts`, and returns the name of its world.
fn describe(project: &Project, host: &dyn Host) -> Result<String, AuthoringError> {
    project.clear("build/wit")?;
    let wit = project.path("build/wit");
    tool::run(host, NODE.command(project)?.arg("build/sdk/describe.mjs"))?;
    names::provide_task_package(&wit)?;
    names::only_world(&wit)
}

/// Makes the component of a module, with what each instance has of its own before it.
fn componentize(
    project: &Project,
    host: &dyn Host,
    world: &str,
    wit: &str,
    module: &str,
) -> Result<PathBuf, AuthoringError> {
    let mut componentize = COMPONENTIZE.command(project)?;
    let whole = project.copy(wit, "build/instance/wit")?;
    let [wit, source] = INSTANCE;
    let version = names::free_version(&whole, RANDOM)?;
    let with_random = format!("{world}-with-random");
    let start = format!(
        "import {{ built }} from \"./instance.mjs\";\nexport * from \"../../{module}\";\n\nbuilt();\n"
    );
    let files = [
        ("instance.mjs", source.template.replace("{{version}}", &version)),
        ("start.mjs", start),
        ("wit/deps/run-wasm-runner-random/random.wit", wit.template.replace("{{version}}", &version)),
        (
            "wit/run-wasm-runner.wit",
            format!("world {with_random} {{\n  include {world};\n  import {RANDOM}/random@{version};\n}}\n"),
        ),
    ];
    for (path, text) in files {
        project.write(&format!("build/instance/{path}"), &text)?;
    }
    project.produce(world, |draft| {
        componentize.args(["--wit", "build/instance/wit", "--world", &with_random]);
        componentize.args(["--js", "build/instance/start.mjs", "--module-root", ".", "--sync", "--output"]);
        componentize.arg(project.relative(draft));
        tool::run(host, &mut componentize)
    })
}
