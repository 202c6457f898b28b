"""The command line: python -m yzlin {lab,doctor,download,prepare,train,generate,bench}."""

from __future__ import annotations

import argparse
import importlib
import sys

# command: the module that runs it, and a word of help
COMMANDS = {
    "lab": ("yzlin.tools.lab", "JupyterLab on your own copies of the notebooks"),
    "doctor": ("yzlin.tools.doctor", "is this machine ready?"),
    "download": ("yzlin.tools.download", "the TinyStories data set"),
    "prepare": ("yzlin.prepare", "text -> train.bin, val.bin, meta.json"),
    "train": ("yzlin.train", "token files -> a trained model"),
    "generate": ("yzlin.generate", "a trained model tells a story"),
    "bench": ("yzlin.tools.bench", "how fast a training step is, done in several ways"),
}


def main(argv: list[str] | None = None) -> int:
    """Runs one command. 0: done; 2: one sentence on standard error says what is wrong and what to do."""
    parser = argparse.ArgumentParser(prog="python -m yzlin", description=__doc__)
    subparsers = parser.add_subparsers(dest="command", required=True)
    argv = sys.argv[1:] if argv is None else argv
    for name, (module, help_text) in COMMANDS.items():
        subparser = subparsers.add_parser(name, help=help_text, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
        if name in argv[:1]:  # only the command that runs is imported: `doctor` must work where torch is broken
            importlib.import_module(module).add_arguments(subparser)
    options = parser.parse_args(argv)
    command = importlib.import_module(COMMANDS[options.command][0])
    try:
        return command.main(options)
    except KeyboardInterrupt:
        print("\nInterrupted.", file=sys.stderr)
        return 130
    except (ValueError, OSError, RuntimeError, ImportError) as error:
        print(f"yzlin {options.command}: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
