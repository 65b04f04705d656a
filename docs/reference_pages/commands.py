"""The page of the command line, from the parser that reads it."""

import argparse

from medssl.commands import command_parser

from .docstrings import one_line


def commands_page() -> str:
    """Every command with its options, in Markdown."""
    parser = command_parser()
    (commands,) = (action for action in parser._actions if isinstance(action, argparse._SubParsersAction))
    listed = [f"| [`medssl {action.dest}`](#{action.dest}) | {one_line(action.help or '')} |"
              for action in commands._choices_actions]  # fmt: skip
    parts = [
        "# Commands",
        "`medssl COMMAND --help` says the same. The trainings themselves are bundles: [their options](options.md).",
        "\n".join(["| command | what it does |", "|---|---|", *listed]),
    ]
    for name, command in commands.choices.items():
        options = [action for action in command._actions if not isinstance(action, argparse._HelpAction)]
        rows = [f"| {_spelled(action)} | {one_line(_meaning(action))} |" for action in options]
        parts += [f"## {name}", command.description or "", "\n".join(["| option | meaning |", "|---|---|", *rows])]
    return "\n\n".join(parts) + "\n"


def _spelled(action: argparse.Action) -> str:
    if not action.option_strings:
        return f"`{action.metavar or action.dest}`" + (" …" if action.nargs == "+" else "")
    name = action.option_strings[0]
    if action.nargs == 0:
        return f"`{name}`"
    words = action.metavar or (" \\| ".join(map(str, action.choices)) if action.choices else "")
    words = " ".join(words) if isinstance(words, tuple) else words or action.dest.upper()
    return f"`{name} {words}`" + (" …" if action.nargs == "+" else "")


def _meaning(action: argparse.Action) -> str:
    return (action.help or "") + ("; must be given" if action.required and action.option_strings else "")
