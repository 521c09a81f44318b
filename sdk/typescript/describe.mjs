// Makes WIT of the functions that `src/app.ts` exports, and the entry of the component:
// `build/wit/world.wit` and `build/entry.ts`. The project's own compiler reads the types, also those of stubs for tasks
// of other components (`remote`), anywhere in the project.

import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import path from "node:path";
import ts from "typescript";

const APP = "src/app.ts";
const SDK = path.resolve("build/sdk/wasm-runner.ts");
const NUMBERS = ["u8", "u16", "u32", "u64", "s8", "s16", "s32", "s64"];
const WIT_WORDS = new Set(
  ("as async bool borrow char constructor enum error-context export f32 f64 flags from func future import include " +
    "interface list map option own package record resource result s16 s32 s64 s8 static stream string tuple type u16 " +
    "u32 u64 u8 use variant with world").split(" "),
);
const PACKAGE = /^[a-z][a-z0-9]*(-[a-z][a-z0-9]*)*:([a-z][a-z0-9]*(-[a-z][a-z0-9]*)*)(@\d+\.\d+\.\d+[\w.+-]*)?$/;
/** A function, `namespace:name/interface.function`, or that of one component, `COMPONENT::function`. */
const TASK_ID = /^(?:[^\s/:]+::\S+|[^\s/:]+:[^\s/:]+\/[^\s/]+\.[^\s/.]+)$/;
const KEBAB = /^[a-z][a-z0-9]*(-[a-z][a-z0-9]*)*$/;

/** A function or type that WIT can't express. */
class Problem extends Error {
  constructor(message, node) {
    super(message);
    this.node = node;
  }
}

const escaped = (name) => (WIT_WORDS.has(name) ? `%${name}` : name);
const camel = (name) => name.replace(/-([a-z])/g, (_, letter) => letter.toUpperCase());

/** Returns the WIT form of a name. */
function kebab(name, node) {
  const made = name
    .replace(/([a-z0-9])([A-Z])/g, "$1-$2")
    .replace(/([A-Z])([A-Z][a-z])/g, "$1-$2")
    .toLowerCase();
  if (!KEBAB.test(made)) {
    throw new Problem(`\`${name}\` can't be a name in WIT, where names are words of letters and digits`, node);
  }
  return made;
}

/** Returns the WIT form of the name of a field or a function, which is in camelCase in the bindings. */
function member(name, node) {
  const made = kebab(name, node);
  if (camel(made) !== name) {
    throw new Problem(`\`${name}\` is called \`${camel(made)}\` in a component: write it so`, node);
  }
  return made;
}

const config = ts.readConfigFile("tsconfig.json", ts.sys.readFile);
const { options } = ts.parseJsonConfigFileContent(config.config, ts.sys, ".");
const program = ts.createProgram([APP], options);
const checker = program.getTypeChecker();
/** The types with names, each written once. */
let named = new Map();
const open = [];

function docs(node, indent) {
  const found = ts.getJSDocCommentsAndTags(node).filter(ts.isJSDoc).map((doc) => ts.getTextOfJSDocComment(doc.comment));
  const lines = found.filter(Boolean).join("\n").split("\n").map((line) => line.trim());
  return lines[0] === "" && lines.length === 1 ? "" : lines.map((line) => `${indent}/// ${line}`.trimEnd() + "\n").join("");
}

const scalar = (wit, is = "plain") => ({ wit, kind: { is } });

/** The WIT of a type as it is written. `name` is what it is called, if it has a name. */
function read(node, name) {
  if (ts.isParenthesizedTypeNode(node)) return read(node.type, name);
  switch (node.kind) {
    case ts.SyntaxKind.BooleanKeyword:
      return scalar("bool");
    case ts.SyntaxKind.NumberKeyword:
      return scalar("f64", "float");
    case ts.SyntaxKind.StringKeyword:
      return scalar("string");
  }
  if (ts.isTypeOperatorNode(node) && node.operator === ts.SyntaxKind.ReadonlyKeyword) return read(node.type, name);
  if (ts.isArrayTypeNode(node)) return list(node.elementType);
  if (ts.isTupleTypeNode(node) && node.elements.length > 0) {
    const of = node.elements.map((element) => read(ts.isNamedTupleMember(element) ? element.type : element));
    return { wit: `tuple<${of.map(({ wit }) => wit).join(", ")}>`, kind: { is: "tuple", of: of.map(({ kind }) => kind) } };
  }
  if (ts.isUnionTypeNode(node)) return union(node, name);
  if (ts.isTypeLiteralNode(node)) return record(node, node.members, name);
  if (ts.isTypeReferenceNode(node)) return reference(node, name);
  throw unknown(node);
}

function unknown(node) {
  const known = "boolean, number, string, u8 to s64, f32, f64, char, Uint8Array, arrays, tuples, `T | null`, " +
    "and types with names: objects, unions of texts, unions of `{ tag: …, val: … }`, `Flags<…>`";
  return new Problem(`\`${node.getText()}\` has no type in WIT (possible are ${known})`, node);
}

function list(element) {
  const { wit, kind } = read(element);
  return { wit: `list<${wit}>`, kind: { is: "list", of: kind } };
}

/** Returns the symbol that a name means, also if it was imported. */
function symbolOf(node) {
  const symbol = checker.getSymbolAtLocation(node);
  return symbol && symbol.flags & ts.SymbolFlags.Alias ? checker.getAliasedSymbol(symbol) : symbol;
}

const fileOf = (symbol) => symbol?.declarations?.[0]?.getSourceFile();

/** Returns whether a symbol is the SDK's export of that name. */
function isOfSdk(symbol, name) {
  const file = fileOf(symbol);
  return symbol?.name === name && file !== undefined && path.resolve(file.fileName) === SDK;
}

function reference(node, name) {
  const symbol = symbolOf(node.typeName);
  const declaration = symbol?.declarations?.[0];
  if (!declaration) throw unknown(node);
  const file = declaration.getSourceFile();
  const parameters = node.typeArguments ?? [];
  if (path.resolve(file.fileName) === SDK) {
    if (NUMBERS.includes(symbol.name) || symbol.name === "char") return scalar(symbol.name);
    if (symbol.name === "f32" || symbol.name === "f64") return scalar(symbol.name, "float");
    if (symbol.name === "Flags" && parameters.length === 1) return flags(node, parameters[0], name);
    throw unknown(node);
  }
  if (program.isSourceFileDefaultLibrary(file)) {
    if (symbol.name === "Uint8Array") return scalar("list<u8>", "bytes");
    if (["Array", "ReadonlyArray"].includes(symbol.name) && parameters.length === 1) return list(parameters[0]);
    throw unknown(node);
  }
  if (declaration.typeParameters?.length) throw new Problem(`\`${symbol.name}\` has parameters, a type of WIT has none`, node);
  const known = named.get(declaration);
  if (known) return known;
  if (open.includes(declaration)) throw new Problem(`\`${symbol.name}\` contains itself, a type of WIT can't`, declaration);
  open.push(declaration);
  const own = { text: symbol.name, declaration };
  let made;
  if (ts.isInterfaceDeclaration(declaration) && !declaration.heritageClauses) {
    made = record(declaration, declaration.members, own);
  } else if (ts.isTypeAliasDeclaration(declaration)) {
    made = read(declaration.type, own);
  } else {
    throw unknown(node);
  }
  open.pop();
  return made;
}

/** Keeps a type that WIT has only with a name. */
function define(name, node, word, lines, kind) {
  if (!name) throw new Problem("a type like this needs a name: `type Name = …`", node);
  const wit = kebab(name.text, name.declaration.name);
  if ([...named.values()].some((other) => other.name === wit)) {
    throw new Problem(`two types are called \`${wit}\` in WIT`, name.declaration.name);
  }
  const text = `${docs(name.declaration, "    ")}    ${word} ${escaped(wit)} {\n${lines.join("")}    }\n`;
  const made = { wit: escaped(wit), kind, name: wit, text };
  named.set(name.declaration, made);
  return made;
}

function record(node, members, name) {
  const fields = members.map((field) => {
    if (!ts.isPropertySignature(field) || !field.type || !ts.isIdentifier(field.name)) {
      throw new Problem("a type of a task has fields with types, and nothing else", field);
    }
    if (field.questionToken) throw new Problem("WIT has no fields that may be left out: write `T | null`", field);
    const wit = member(field.name.text, field.name);
    return { field, wit, of: read(field.type) };
  });
  if (fields.length === 0) throw new Problem("a type of a task has at least one field", node);
  const lines = fields.map(({ field, wit, of }) => `${docs(field, "        ")}        ${escaped(wit)}: ${of.wit},\n`);
  return define(name, node, "record", lines, { is: "record", of: fields.map(({ field, wit, of }) => [field.name.text, wit, of.kind]) });
}

function flags(node, names, name) {
  const members = ts.isUnionTypeNode(names) ? [...names.types] : [names];
  const of = members.map((one) => {
    const text = textOf(one);
    if (text === undefined) throw new Problem('flags are names: `Flags<"read" | "write">`', one);
    return [text, member(text, one)];
  });
  if (of.length > 32) throw new Problem("WIT has no more than 32 flags in a type", node);
  return define(name, node, "flags", of.map(([, wit]) => `        ${escaped(wit)},\n`), { is: "flags", of });
}

const isNull = (node) => ts.isLiteralTypeNode(node) && node.literal.kind === ts.SyntaxKind.NullKeyword;
const textOf = (node) => (ts.isLiteralTypeNode(node) && ts.isStringLiteral(node.literal) ? node.literal.text : undefined);

function union(node, name) {
  const members = node.types.filter((member) => !isNull(member));
  if (members.length < node.types.length) {
    if (members.length !== 1) throw new Problem("give the union without `null` a name: `Name | null`", node);
    const { wit, kind } = read(members[0]);
    if (kind.is === "option") throw new Problem("a type can be `| null` only once", node);
    return { wit: `option<${wit}>`, kind: { is: "option", of: kind } };
  }
  const checked = (text, at) => {
    if (!KEBAB.test(text)) throw new Problem(`\`${text}\` can't be a case in WIT: write it like \`two-words\``, at);
    return text;
  };
  if (members.every((member) => textOf(member) !== undefined)) {
    const cases = members.map((member) => checked(textOf(member), member));
    return define(name, node, "enum", cases.map((text) => `        ${escaped(text)},\n`), { is: "plain" });
  }
  const cases = members.map((member) => {
    const fields = ts.isTypeLiteralNode(member) ? member.members.filter(ts.isPropertySignature) : [];
    const [tag, val] = ["tag", "val"].map((wanted) => fields.find((field) => field.name.getText() === wanted)?.type);
    const text = tag && textOf(tag);
    if (text === undefined || fields.length !== (val ? 2 : 1)) {
      throw new Problem("a union is of texts, or of `{ tag: \"name\"; val: Type }`, of which `val` may be missing", member);
    }
    return { text: checked(text, tag), of: val ? read(val) : null };
  });
  const lines = cases.map(({ text, of }) => `        ${escaped(text)}${of ? `(${of.wit})` : ""},\n`);
  return define(name, node, "variant", lines, { is: "variant", of: Object.fromEntries(cases.map(({ text, of }) => [text, of && of.kind])) });
}

/** Reads the result type of a task: its value, its error, and whether it is a `Promise`. */
function returned(node) {
  if (node.kind === ts.SyntaxKind.VoidKeyword) return { result: null, error: null, isAsync: false };
  if (ts.isTypeReferenceNode(node)) {
    const symbol = symbolOf(node.typeName);
    const [value, error] = node.typeArguments ?? [];
    if (isOfSdk(symbol, "Throws") && error) {
      return { result: returned(value).result, error: read(error), isAsync: false };
    }
    if (symbol?.name === "Promise" && value && program.isSourceFileDefaultLibrary(fileOf(symbol))) {
      return { ...returned(value), isAsync: true };
    }
  }
  return { result: read(node), error: null, isAsync: false };
}

/** Reads the signature of a stub for a task of another component. */
function other(call) {
  const [id] = call.arguments;
  if (!id || !ts.isStringLiteralLike(id) || !TASK_ID.test(id.text)) {
    const message = '`remote` wants the name of a task: `remote<…>("local:other/tasks.add")` or `remote<…>("other::add")`';
    throw new Problem(message, call);
  }
  const [type] = call.typeArguments ?? [];
  if (!type || !ts.isFunctionTypeNode(type)) {
    throw new Problem(`\`remote\` wants the types of the task: \`remote<(a: u32, b: u32) => u32>("${id.text}")\``, call);
  }
  // Its types are of the other component's WIT, not of this one's.
  const own = named;
  named = new Map();
  try {
    const parameters = type.parameters.map((parameter) => {
      if (!parameter.type) throw new Problem("a parameter of `remote` has no type", parameter);
      return read(parameter.type).kind;
    });
    const { result, error, isAsync } = returned(type.type);
    return { id: id.text, parameters, result: result && result.kind, error: error && error.kind, isAsync };
  } finally {
    named = own;
  }
}

/** All calls of `remote` in a file. */
function callsOfRemote(node) {
  const isCall = ts.isCallExpression(node) && ts.isIdentifier(node.expression) && isOfSdk(symbolOf(node.expression), "remote");
  const found = isCall ? [node] : [];
  ts.forEachChild(node, (child) => void found.push(...callsOfRemote(child)));
  return found;
}

function task(name, declaration) {
  if (!ts.isFunctionDeclaration(declaration)) throw new Problem(`\`${name}\` is no function declaration`, declaration);
  if (declaration.asteriskToken) throw new Problem(`\`${name}\` yields, a task returns one value: return an array`, declaration);
  if (declaration.typeParameters) throw new Problem(`\`${name}\` has type parameters, a task has none`, declaration);
  const wit = member(name, declaration.name);
  const parameters = declaration.parameters.map((parameter) => {
    if (!ts.isIdentifier(parameter.name) || parameter.dotDotDotToken) {
      throw new Problem("a parameter of a task is a name", parameter);
    }
    if (parameter.questionToken || parameter.initializer) {
      throw new Problem("WIT has no parameters that may be left out: write `T | null`", parameter);
    }
    if (!parameter.type) throw new Problem(`the parameter \`${parameter.name.text}\` of \`${name}\` has no type`, parameter);
    const { wit, kind } = read(parameter.type);
    return { name: kebab(parameter.name.text, parameter.name), wit, kind };
  });
  if (!declaration.type) throw new Problem(`\`${name}\` does not say what it returns`, declaration.name);
  const { result, error, isAsync } = returned(declaration.type);
  const given = parameters.map((parameter) => `${escaped(parameter.name)}: ${parameter.wit}`).join(", ");
  let arrow = result ? ` -> ${result.wit}` : "";
  if (error) arrow = ` -> result<${result ? result.wit : "_"}, ${error.wit}>`;
  return {
    name,
    wit,
    text: `${docs(declaration, "    ")}    ${escaped(wit)}: func(${given})${arrow};\n`,
    signature: { parameters: parameters.map(({ kind }) => kind), result: result && result.kind, error: error && error.kind, isAsync },
  };
}

const problems = [];
function attempt(make) {
  try {
    return [make()];
  } catch (problem) {
    if (!(problem instanceof Problem)) throw problem;
    open.length = 0;
    const file = problem.node.getSourceFile();
    const { line, character } = file.getLineAndCharacterOfPosition(problem.node.getStart());
    const place = path.relative(".", file.fileName);
    problems.push(`${place}:${line + 1}:${character + 1}: ${problem.message}`);
    return [];
  }
}

const app = program.getSourceFile(APP);
const exported = app ? checker.getExportsOfModule(checker.getSymbolAtLocation(app) ?? { exports: new Map() }) : [];
const functions = exported.flatMap((symbol) => {
  if (symbol.flags & ts.SymbolFlags.Alias) symbol = checker.getAliasedSymbol(symbol);
  const declaration = symbol.valueDeclaration;
  return declaration && ts.isFunctionDeclaration(declaration) ? attempt(() => task(symbol.name, declaration)) : [];
});
const ours = program.getSourceFiles().filter((file) => {
  return !file.isDeclarationFile && !program.isSourceFileFromExternalLibrary(file) && path.resolve(file.fileName) !== SDK;
});
const others = new Map();
for (const call of ours.flatMap(callsOfRemote)) {
  attempt(() => {
    const signature = other(call);
    const text = JSON.stringify(signature);
    if ((others.get(signature.id) ?? text) !== text) throw new Problem(`\`${signature.id}\` has two types`, call);
    others.set(signature.id, text);
  });
}
const name = JSON.parse(readFileSync("package.json", "utf8"))["wasm-runner"]?.package;
const parts = typeof name === "string" ? PACKAGE.exec(name) : null;
if (!parts || parts[2] === "tasks") {
  problems.push("package.json: `wasm-runner.package` is missing or wrong: write `\"wasm-runner\": { \"package\": \"local:hello\" }`");
}
if (functions.length === 0 && problems.length === 0) {
  problems.push(`${APP} has no tasks: each function that it exports is one`);
}
for (const { wit } of functions) {
  if ([...named.values()].some((type) => type.name === wit)) {
    problems.push(`${APP}: a type and a task are both called \`${wit}\` in WIT`);
  }
}
if (problems.length > 0) {
  problems.forEach((problem) => console.error(`error: ${problem}`));
  process.exit(1);
}
const texts = [...named.values(), ...functions].map(({ text }) => text);
mkdirSync("build/wit", { recursive: true });
writeFileSync(
  "build/wit/world.wit",
  `// Made by run-wasm-runner from \`${APP}\`. DO NOT EDIT!\n\npackage ${name};\n\ninterface tasks {\n${texts.join("\n")}}\n\n` +
    `world ${escaped(parts[2])} {\n    import wasm-runner:task/invocations@0.1.0;\n    export tasks;\n}\n`,
);
const interfaceName = `${name.split("@")[0]}/tasks`;
const isAsync = functions.some(({ signature }) => signature.isAsync);
const exportOf = ({ name, signature }) => {
  return signature.isAsync ? `${name}: (...args) => run(() => app.${name}(...args), arrive)` : `${name}: app.${name}`;
};
const signatures = functions.map(
  ({ name, wit, signature }) => `  [app.${name}, ${JSON.stringify({ id: `${interfaceName}.${wit}`, ...signature })}],\n`,
);
writeFileSync(
  "build/entry.ts",
  "// Made by run-wasm-runner. DO NOT EDIT!\n\n" +
    'import invocations from "wasm-runner:task/invocations@0.1.0";\n\n' +
    // Before everything else, as whatever uses a promise has to use those.
    (isAsync ? 'import { run } from "./sdk/event-loop";\n' : "") +
    'import * as app from "../src/app";\nimport { arrive, connect } from "./sdk/wasm-runner";\n\n' +
    `connect(invocations, [\n${signatures.join("")}], [\n${[...others.values()].map((text) => `  ${text},\n`).join("")}]);\n\n` +
    `export const tasks = {\n${functions.map((one) => `  ${exportOf(one)},\n`).join("")}};\n`,
);
