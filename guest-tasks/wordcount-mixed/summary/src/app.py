"""The task that `wit/world.wit` declares."""

import json

from componentize_py_types import Err
from wit_world import exports
from wit_world.exports.wordcount import Summary
from wit_world.imports import files, invocations, words
from wit_world.imports.types import SubmitOptions
from wit_world.imports.words import Tally


class Wordcount(exports.Wordcount):
    def word_count(self, directory: str, top: int) -> Summary:
        paths = files.text_files(directory)  # its `err` is raised, and so becomes that of this task
        # By name, because a call of an imported function waits: all of them at the same time.
        arguments = [json.dumps([path]) for path in paths]
        options = SubmitOptions(None, None, None, False, [])
        children = invocations.submit_all("mixed:splitting/texts.count-words", arguments, options)
        parts = []
        for path, outcome in zip(paths, invocations.await_all(children), strict=True):
            # One unreadable file fails it all: a part that looks like the whole would be worse.
            if isinstance(outcome, Err):
                raise Err(f"`{path}`: {outcome.value}")
            parts.append([Tally(tally["word"], tally["count"]) for tally in json.loads(outcome.value)])
        merged = words.merge(parts)
        return Summary(len(paths), sum(tally.count for tally in merged), len(merged), merged[:top])
