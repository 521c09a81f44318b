"""Makes WIT of the tasks of a project: `python -m wasm_runner._build MODULE FOLDER`.

The module is imported as it is when the component is made. FOLDER gets `wit/world.wit` and
`python/wasm_runner_entry.py`.
"""

import importlib
import os
import pathlib
import re
import sys
import traceback

import wasm_runner

from ._types import Problem, Registry, escaped, kebab, place_of

ENTRY = """# Made by run-wasm-runner. DO NOT EDIT!
import {module}  # noqa: F401
from wasm_runner._entry import tasks

Tasks = tasks()
"""

PACKAGE = r"[a-z][a-z0-9]*(-[a-z][a-z0-9]*)*:([a-z][a-z0-9]*(-[a-z][a-z0-9]*)*)(@\d+\.\d+\.\d+[\w.+-]*)?"


def main(module, folder):
    try:
        importlib.import_module(module)
    except Exception as error:
        # Without the frames of the import itself.
        frames = traceback.extract_tb(error.__traceback__)
        frames = [frame for frame in frames if "importlib" not in frame.filename and frame.filename != __file__]
        sys.stderr.write("".join(traceback.format_list(frames) + traceback.format_exception_only(error)))
        return [f"the module `{module}` can't be imported: see above"]
    problems = []
    registry = Registry()
    functions = []
    seen = {}
    for task in wasm_runner._tasks:
        try:
            parameters, result, errors = task.signature(registry)
            if task.name in seen:
                raise Problem(f"two tasks are called `{task.name}` in WIT", *place_of(task.function))
            seen[task.name] = task
            functions.append(documented(task.function.__doc__, declaration(task, parameters, result, errors)))
        except Problem as problem:
            problems.append(told(problem))
    for name in seen.keys() & registry.named.keys():
        message = f"a type and a task are both called `{name}` in WIT"
        problems.append(told(Problem(message, *place_of(seen[name].function))))
    if not wasm_runner._tasks:
        problems.append(f"the module `{module}` has no tasks: put `@task` of `wasm_runner` before a function")
    package = wasm_runner._package
    is_package = re.fullmatch(PACKAGE, package or "")
    if package is None:
        problems.append(f'the module `{module}` does not say its package: add `package("local:hello")`')
    elif is_package is None or is_package[2] == "tasks":
        problems.append(f"`{package}` can't be a package: write `namespace:name`, or `namespace:name@1.2.3`")
    if problems:
        return problems
    types = []
    for made, key in registry.named.values():
        types.append(documented(own_doc(key) if isinstance(key, type) else None, made.definition()))
    wit = (
        f"// Made by run-wasm-runner from `{module}`. DO NOT EDIT!\n\npackage {package};\n\n"
        f"interface tasks {{\n{chr(10).join(types + functions)}}}\n\n"
        f"world {escaped(is_package[2])} {{\n"
        "    import wasm-runner:task/invocations@0.1.0;\n"
        "    import wasm-runner:task/context@0.1.0;\n"
        "    import wasm-runner:task/log@0.1.0;\n"
        "    export tasks;\n}\n"
    )
    place = pathlib.Path(folder)
    (place / "wit").mkdir(parents=True, exist_ok=True)
    (place / "wit/world.wit").write_text(wit, encoding="utf-8")
    (place / "python/wasm_runner_entry.py").write_text(ENTRY.format(module=module), encoding="utf-8")
    return []


def declaration(task, parameters, result, errors):
    given = ", ".join(f"{escaped(kebab(name))}: {kind.wit}" for name, kind in parameters.items())
    if errors is not None:
        returned = f" -> result<{result.wit or '_'}, {errors.wit}>"
    else:
        returned = f" -> {result.wit}" if result.wit else ""
    return f"    {escaped(task.name)}: func({given}){returned};\n"


def own_doc(made_of):
    """Returns the docstring that the author wrote, not one that dataclasses and enums make."""
    doc = vars(made_of).get("__doc__")
    is_made = doc is None or doc.startswith(f"{made_of.__name__}(") or doc == "An enumeration."
    return None if is_made else doc


def documented(doc, text):
    lines = [line.strip() for line in (doc or "").strip().splitlines()]
    return "".join(f"    /// {line}".rstrip() + "\n" for line in lines) + text


def told(problem):
    if problem.file is None:
        return str(problem)
    return f"{os.path.relpath(problem.file)}:{problem.line}: {problem}"


if __name__ == "__main__":
    found = main(*sys.argv[1:])
    for one in found:
        print(f"error: {one}", file=sys.stderr)
    sys.exit(1 if found else 0)
