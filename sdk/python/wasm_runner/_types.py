"""From Python's type hints to WIT, and values between Python, the bindings and JSON."""

import base64
import dataclasses
import enum
import functools
import inspect
import keyword
import math
import operator
import re
import sys
import types
import typing
from typing import Annotated


class Problem(Exception):
    """A function or type that WIT can't express, with its place."""

    def __init__(self, message, file=None, line=None):
        super().__init__(message)
        self.file = file
        self.line = line


class Wit:
    """Marks a hint with the WIT type that it stands for."""

    def __init__(self, name):
        self.name = name


u8 = Annotated[int, Wit("u8")]
u16 = Annotated[int, Wit("u16")]
u32 = Annotated[int, Wit("u32")]
u64 = Annotated[int, Wit("u64")]
s8 = Annotated[int, Wit("s8")]
s16 = Annotated[int, Wit("s16")]
s32 = Annotated[int, Wit("s32")]
s64 = Annotated[int, Wit("s64")]
f32 = Annotated[float, Wit("f32")]
f64 = Annotated[float, Wit("f64")]
char = Annotated[str, Wit("char")]

#: Words of WIT, which are names only with `%` before them.
_WIT_WORDS = frozenset(
    "as async bool borrow char constructor enum error-context export f32 f64 flags from func future import include "
    "interface list map option own package record resource result s16 s32 s64 s8 static stream string tuple type u16 "
    "u32 u64 u8 use variant with world".split()
)


def kebab(name):
    """`HTTPServer`, `http_server` and `HttpServer` as WIT has them: `http-server`."""
    name = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "-", name)
    return name.strip("_").replace("_", "-").lower()


def wit_name(name, what):
    """Returns the WIT form of a name, or raises a `Problem` if WIT can't have it."""
    made = kebab(name)
    if not re.fullmatch(r"[a-z][a-z0-9]*(-[a-z][a-z0-9]*)*", made):
        hint = "words of letters and digits, each beginning with a letter"
        raise Problem(f"the {what} `{name}` can't be a name in WIT, where names are {hint}")
    return made


def escaped(name):
    return f"%{name}" if name in _WIT_WORDS else name


def camel(name):
    """The name of a class in the bindings."""
    return "".join(word.capitalize() for word in name.split("-"))


class Type:
    """A WIT type with the conversions of its values; these are for types that need none."""

    def __init__(self, wit):
        self.wit = wit

    def lift(self, value):
        """From the bindings."""
        return value

    def lower(self, value):
        """To the bindings."""
        return value

    def encode(self, value):
        """To what `json` writes."""
        return self.lower(value)

    def decode(self, value):
        """From what `json` reads."""
        return value


class Unit(Type):
    def __init__(self):
        super().__init__(None)

    def lower(self, value):
        if value is not None:
            raise TypeError(f"expected None, found {type(value).__name__}: the function has no return type")
        return None


class Integer(Type):
    def __init__(self, wit):
        super().__init__(wit)
        bits = int(wit[1:])
        self.range = (0, 2**bits) if wit[0] == "u" else (-(2 ** (bits - 1)), 2 ** (bits - 1))

    def lower(self, value):
        if not self.range[0] <= value < self.range[1]:
            raise OverflowError(f"{value} does not fit into {self.wit}")
        return int(value)


class Float(Type):
    def lower(self, value):
        return float(value)

    def encode(self, value):
        if math.isfinite(value):
            return float(value)
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"

    def decode(self, value):
        return float(value)


class Bytes(Type):
    def lower(self, value):
        return bytes(value)

    def encode(self, value):
        return {"$base64": base64.b64encode(value).decode()}

    def decode(self, value):
        return bytes(value) if isinstance(value, list) else base64.b64decode(value["$base64"])


class ListOf(Type):
    """A list, or a tuple of any length."""

    def __init__(self, element, kind):
        super().__init__(f"list<{element.wit}>")
        self.element = element
        self.kind = kind

    def lift(self, value):
        return self.kind(map(self.element.lift, value))

    def lower(self, value):
        return list(map(self.element.lower, value))

    def encode(self, value):
        return list(map(self.element.encode, value))

    def decode(self, value):
        return self.kind(map(self.element.decode, value))


class DictOf(Type):
    """A dictionary, as a list of pairs: WIT has none."""

    def __init__(self, key, value):
        super().__init__(f"list<tuple<{key.wit}, {value.wit}>>")
        self.pair = TupleOf([key, value])

    def lift(self, value):
        return dict(map(self.pair.lift, value))

    def lower(self, value):
        return [self.pair.lower(pair) for pair in value.items()]

    def encode(self, value):
        return [self.pair.encode(pair) for pair in value.items()]

    def decode(self, value):
        return dict(map(self.pair.decode, value))


class TupleOf(Type):
    def __init__(self, elements):
        super().__init__(f"tuple<{', '.join(element.wit for element in elements)}>")
        self.elements = elements

    def _each(self, way, value):
        return (getattr(kind, way)(element) for kind, element in zip(self.elements, value, strict=True))

    def lift(self, value):
        return tuple(self._each("lift", value))

    def lower(self, value):
        return tuple(self._each("lower", value))

    def encode(self, value):
        return list(self._each("encode", value))

    def decode(self, value):
        return tuple(self._each("decode", value))


class OptionOf(Type):
    def __init__(self, value):
        super().__init__(f"option<{value.wit}>")
        self.value = value

    def lift(self, value):
        return None if value is None else self.value.lift(value)

    def lower(self, value):
        return None if value is None else self.value.lower(value)

    def encode(self, value):
        return None if value is None else self.value.encode(value)

    def decode(self, value):
        return None if value is None else self.value.decode(value)


class Named(Type):
    """A type that has a name in WIT, and a class in the bindings."""

    def __init__(self, name, registry):
        super().__init__(escaped(name))
        self.name = name
        self.registry = registry

    def binding(self, case=""):
        return getattr(self.registry.bindings, camel(self.name) + case)


class Record(Named):
    """A dataclass."""

    def __init__(self, name, registry, made_of):
        super().__init__(name, registry)
        self.made_of = made_of
        self.fields = {}

    def definition(self):
        fields = "".join(f"        {escaped(kebab(name))}: {kind.wit},\n" for name, kind in self.fields.items())
        return f"    record {self.wit} {{\n{fields}    }}\n"

    def _make(self, values):
        return self.made_of(**dict(zip(self.fields, values, strict=True)))

    def lift(self, value):
        names = [field.name for field in dataclasses.fields(value)]
        kinds = self.fields.values()
        return self._make(kind.lift(getattr(value, name)) for kind, name in zip(kinds, names, strict=True))

    def lower(self, value):
        return self.binding()(*(kind.lower(getattr(value, name)) for name, kind in self.fields.items()))

    def encode(self, value):
        return {kebab(name): kind.encode(getattr(value, name)) for name, kind in self.fields.items()}

    def decode(self, value):
        return self._make(kind.decode(value[kebab(name)]) for name, kind in self.fields.items())


class EnumOf(Named):
    """An enum: cases in the order of its members."""

    def __init__(self, name, registry, made_of):
        super().__init__(name, registry)
        self.members = list(made_of)
        self.cases = [wit_name(member.name, f"member of `{made_of.__name__}`") for member in self.members]

    def definition(self):
        return f"    enum {self.wit} {{\n{''.join(f'        {escaped(case)},{chr(10)}' for case in self.cases)}    }}\n"

    def lift(self, value):
        return self.members[value.value]

    def lower(self, value):
        return self.binding()(self.members.index(value))

    def encode(self, value):
        return self.cases[self.members.index(value)]

    def decode(self, value):
        return self.members[self.cases.index(value)]


class FlagsOf(Named):
    """An `enum.Flag`: a flag for each member of one bit, in their order."""

    def __init__(self, name, registry, made_of):
        super().__init__(name, registry)
        self.made_of = made_of
        # Members of several bits are names for several at once.
        self.members = [member for member in made_of if member.value.bit_count() == 1]
        self.names = [wit_name(member.name, f"member of `{made_of.__name__}`") for member in self.members]

    def definition(self):
        return f"    flags {self.wit} {{\n{''.join(f'        {escaped(name)},{chr(10)}' for name in self.names)}    }}\n"

    def _places(self, value):
        if not isinstance(value, self.made_of):
            raise TypeError(f"expected {self.made_of.__name__}, found {type(value).__name__}")
        rest = value.value
        for place, member in enumerate(self.members):
            if rest & member.value:
                rest &= ~member.value
                yield place
        if rest:
            raise ValueError(f"{value!r} has bits that are no members")

    def _of(self, members):
        return functools.reduce(operator.or_, members, self.made_of(0))

    def lift(self, value):
        return self._of(member for place, member in enumerate(self.members) if value.value >> place & 1)

    def lower(self, value):
        return self.binding()(sum(1 << place for place in self._places(value)))

    def encode(self, value):
        return [self.names[place] for place in self._places(value)]

    def decode(self, value):
        return self._of(self.members[self.names.index(name)] for name in value)


class Case:
    """A case of a variant: the class of its values, and its payload."""

    def __init__(self, name, made_of, payload):
        self.name = name
        self.made_of = made_of
        self.payload = payload


class Variant(Named):
    """A union of classes."""

    def __init__(self, name, registry, cases):
        super().__init__(name, registry)
        self.cases = cases

    def definition(self):
        payloads = [f"({case.payload.wit})" if case.payload else "" for case in self.cases]
        pairs = zip(self.cases, payloads, strict=True)
        cases = "".join(f"        {escaped(case.name)}{payload},\n" for case, payload in pairs)
        return f"    variant {self.wit} {{\n{cases}    }}\n"

    def _case_of(self, value):
        # The class itself first: a `bool` is an `int`.
        for fits in (lambda case: type(value) is case.made_of, lambda case: isinstance(value, case.made_of)):
            for case in self.cases:
                if fits(case):
                    return case
        known = ", ".join(case.made_of.__name__ for case in self.cases)
        raise TypeError(f"expected one of {known}, found {type(value).__name__}")

    def lift(self, value):
        made = type(value).__name__.split("_", 1)[1]
        case = next(case for case in self.cases if camel(case.name) == made)
        return case.payload.lift(value.value) if case.payload else case.made_of()

    def lower(self, value):
        case = self._case_of(value)
        binding = self.binding(f"_{camel(case.name)}")
        return binding(case.payload.lower(value)) if case.payload else binding()

    def encode(self, value):
        case = self._case_of(value)
        return {case.name: case.payload.encode(value)} if case.payload else case.name

    def decode(self, value):
        name, payload = (value, None) if isinstance(value, str) else next(iter(value.items()))
        case = next(case for case in self.cases if case.name == name)
        return case.payload.decode(payload) if case.payload else case.made_of()


class Message(Type):
    """An exception that has only a message."""

    def __init__(self, made_of):
        super().__init__("string")
        self.made_of = made_of

    def lift(self, value):
        return self.made_of(value)

    def lower(self, value):
        return str(value)

    def decode(self, value):
        return self.made_of(value)


#: The type of a task's errors: that of its only exception, or a variant.
Errors = Type

_SCALARS = {bool: "bool", int: "s64", float: "f64", str: "string"}


def _scalar(wit):
    if wit in ("f32", "f64"):
        return Float(wit)
    return Integer(wit) if wit[0] in "us" and wit[1:].isdigit() else Type(wit)


def place_of(thing, field=None):
    """The file and line of a function or a class, or of a field of it."""
    # The problem is not in the decorator.
    wanted = rf"\s*{field}\s*:" if field else r"\s*(async\s+def|def|class)\b"
    try:
        lines, first = inspect.getsourcelines(thing)
        found = [n for n, line in enumerate(lines) if re.match(wanted, line)]
        return inspect.getsourcefile(thing), first + (found[0] if found else 0)
    except (OSError, TypeError):
        return None, None


class Registry:
    """The named types of some tasks."""

    def __init__(self):
        self.named = {}
        self.by_class = {}
        self.bindings = None
        self._open = []

    def signature(self, task):
        """The types of a task: of its parameters by name, of its result, and of its errors or none."""
        function = task.function
        try:
            return self._signature(task, function)
        except Problem as problem:
            if problem.file is None:
                problem.file, problem.line = place_of(function)
            raise

    def _signature(self, task, function):
        wit_name(function.__name__, "task")
        if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
            raise Problem(f"`{function.__name__}` yields, a task returns one value: return a list")
        hints = self._hints(function)
        parameters = {}
        for parameter in inspect.signature(function).parameters.values():
            if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
                raise Problem(f"`{function.__name__}` takes any number of arguments (`{parameter}`), a task can't")
            if parameter.name not in hints:
                raise Problem(f"the parameter `{parameter.name}` of `{function.__name__}` has no type hint")
            wit_name(parameter.name, "parameter")
            what = f"the parameter `{parameter.name}` of `{function.__name__}`"
            parameters[parameter.name] = self.type_of(hints[parameter.name], what, function)
        returned = hints.get("return", type(None))
        what = f"the result of `{function.__name__}`"
        result = Unit() if returned is type(None) else self.type_of(returned, what, function)
        return parameters, result, self._errors(task, function)

    def _hints(self, thing):
        try:
            return typing.get_type_hints(thing, include_extras=True)
        except Exception as error:
            raise Problem(f"the type hints of `{thing.__name__}` can't be read: {error}", *place_of(thing)) from error

    def _errors(self, task, function):
        kinds = []
        for raised in task.raises:
            if not (isinstance(raised, type) and issubclass(raised, Exception)):
                raise Problem(f"`raises` of `{function.__name__}` has `{raised!r}`, which is no exception")
            is_record = dataclasses.is_dataclass(raised) and dataclasses.fields(raised)
            kinds.append(self._record(raised) if is_record else Message(raised))
        if len(kinds) < 2:
            return kinds[0] if kinds else None
        cases = [
            Case(wit_name(raised.__name__, "exception"), raised, kind)
            for raised, kind in zip(task.raises, kinds, strict=True)
        ]
        name = f"{wit_name(function.__name__, 'task')}-error"
        return self._add(Variant(name, self, cases), (function, "error"), place_of(function))

    def type_of(self, hint, what, function):
        """The WIT type of a hint."""
        origin, arguments = typing.get_origin(hint), typing.get_args(hint)
        inner = lambda hint: self.type_of(hint, what, function)  # noqa: E731
        if origin is Annotated:
            for mark in arguments[1:]:
                if isinstance(mark, Wit):
                    return _scalar(mark.name)
            return inner(arguments[0])
        if isinstance(hint, getattr(typing, "TypeAliasType", ())):
            return self._union(hint.__value__, what, function, hint.__name__) or inner(hint.__value__)
        if hint in (bytes, bytearray):
            return Bytes("list<u8>")
        if isinstance(hint, type) and hint in _SCALARS:
            return _scalar(_SCALARS[hint])
        if origin is list and arguments:
            return ListOf(inner(arguments[0]), list)
        if origin is dict and arguments:
            return DictOf(inner(arguments[0]), inner(arguments[1]))
        if origin is tuple and len(arguments) == 2 and arguments[1] is Ellipsis:
            return ListOf(inner(arguments[0]), tuple)
        if origin is tuple and arguments and arguments != ((),):
            return TupleOf([inner(argument) for argument in arguments])
        if origin in (typing.Union, types.UnionType):
            return self._union(hint, what, function, None)
        if isinstance(hint, type) and issubclass(hint, enum.Enum):
            return self._enum(hint)
        if isinstance(hint, type) and dataclasses.is_dataclass(hint):
            return self._record(hint)
        if hint in (list, dict, tuple, typing.List, typing.Dict, typing.Tuple):
            raise Problem(f"{what} is a `{_shown(hint)}` of what? Write `{_shown(hint)}[…]`", *place_of(function))
        known = "bool, int, float, str, bytes, list, dict, tuple, Optional, unions, enums and dataclasses"
        raise Problem(f"{what} is a `{_shown(hint)}`, which has no type in WIT (possible are {known})", *place_of(function))

    def _union(self, hint, what, function, name):
        if typing.get_origin(hint) not in (typing.Union, types.UnionType):
            return None
        members = [member for member in typing.get_args(hint) if member is not type(None)]
        if len(members) < len(typing.get_args(hint)):
            # Every union of Python is flat, so this is all that is optional about it.
            rest = members[0] if len(members) == 1 else typing.Union[tuple(members)]
            return OptionOf(self.type_of(rest, what, function))
        if hint in self.by_class:
            return self.by_class[hint]
        cases = []
        for member in members:
            if not isinstance(member, type):
                raise Problem(f"{what} is a union with `{_shown(member)}`: only classes can be told apart", *place_of(function))
            case = wit_name(member.__name__, "class")
            is_empty = dataclasses.is_dataclass(member) and not dataclasses.fields(member)
            cases.append(Case(case, member, None if is_empty else self.type_of(member, what, function)))
        # The name of the type in its module.
        module = vars(sys.modules[function.__module__])
        name = name or next((name for name, value in module.items() if value == hint), None)
        name = wit_name(name, "union") if name else "-or-".join(case.name for case in cases)
        return self._add(Variant(name, self, cases), hint, place_of(function))

    def _enum(self, made_of):
        if made_of in self.by_class:
            return self.by_class[made_of]
        try:
            is_flag = issubclass(made_of, enum.Flag)
            made = (FlagsOf if is_flag else EnumOf)(wit_name(made_of.__name__, "enum"), self, made_of)
            if not made.members:
                raise Problem(f"the enum `{made_of.__name__}` has no members")
            if is_flag and len(made.members) > 32:
                raise Problem(f"`{made_of.__name__}` has {len(made.members)} flags, a type of WIT no more than 32")
        except Problem as problem:
            problem.file, problem.line = place_of(made_of)
            raise
        return self._add(made, made_of, place_of(made_of))

    def _record(self, made_of):
        if made_of in self.by_class:
            return self.by_class[made_of]
        name = made_of.__name__
        if made_of in self._open:
            raise Problem(f"`{name}` contains itself, a type of WIT can't", *place_of(made_of))
        if not dataclasses.fields(made_of):
            raise Problem(f"`{name}` has no fields, which is possible only for a class of a union", *place_of(made_of))
        self._open.append(made_of)
        hints = self._hints(made_of)
        made = Record(wit_name(name, "class"), self, made_of)
        for field in dataclasses.fields(made_of):
            try:
                wit_name(field.name, f"field of `{name}`")
                what = f"the field `{field.name}` of `{name}`"
                made.fields[field.name] = self.type_of(hints[field.name], what, made_of)
            except Problem as problem:
                # A problem of another class has its place already.
                if problem.file is None or (problem.file, problem.line) == place_of(made_of):
                    problem.file, problem.line = place_of(made_of, field.name)
                raise
        self._open.pop()
        return self._add(made, made_of, place_of(made_of))

    def _add(self, made, key, place):
        other = self.named.get(made.name)
        if other is not None:
            raise Problem(f"two types are called `{made.name}` in WIT", *place)
        self.named[made.name] = (made, key)
        self.by_class[key] = made
        return made


def _shown(hint):
    return hint.__name__ if isinstance(hint, type) else str(hint).replace("typing.", "")


def method_name(name, protocol):
    """Returns the name of a task in the bindings."""
    name = name.replace("-", "_")
    return name if hasattr(protocol, name) and not keyword.iskeyword(name) else f"{name}_"
