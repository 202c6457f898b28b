"""The command line of the yzlin course. `python -m yzlin COMMAND --help` lists the options of a command."""

from __future__ import annotations

import argparse
import importlib
import os
import sys

# command: the module that runs it, a word of help, examples
COMMANDS = {
    "lab": ("yzlin.tools.lab", "JupyterLab on your own copies of the notebooks", [""]),
    "doctor": ("yzlin.tools.doctor", "is this machine ready?", [""]),
    "download": ("yzlin.tools.download", "the TinyStories data set", ["tinystories", "tinystories --part valid"]),
    "prepare": ("yzlin.prepare", "text -> train.bin, val.bin, meta.json", ["storybook", "my.txt --tokenizer train:4096"]),
    "train": (
        "yzlin.train",
        "token files -> a trained model",
        ["--preset cpu", "--preset cpu --max_iters 2000 --out checkpoint/mine", "--init_from resume --out checkpoint/mine"],
    ),
    "record": (
        "yzlin.tools.record",
        "a run with its record: machine, speed, memory, energy, curves",
        ["--preset cuda", "--preset cuda --minutes 55", "--preset cpu --max_iters 300 --out checkpoint/recorded"],
    ),
    "generate": ("yzlin.generate", "a trained model tells a story", ["", "--checkpoint checkpoint/mine 'Once upon a time'"]),
    "export": (
        "yzlin.tools.export",
        "a trained model as a Hugging Face folder, and back",
        ["storyteller --to my-model --onnx", "my-model --to checkpoint/back"],
    ),
    "page": ("yzlin.tools.page", "one file in which a trained model tells stories", ["storyteller --to story.html"]),
    "site": ("yzlin.tools.site", "the course as pages to read, with a search; a USB stick will do", ["", "--to my-site"]),
    "slides": (
        "yzlin.tools.slides",
        "a file of slides for each notebook, offline",
        ["", "--to slides --notebooks workspace/02_batches.ipynb"],
    ),
    "submit": ("yzlin.tools.submit", "your exercises as one file for your lecturer", ["", "--name 'Ada Lovelace'"]),
    "grade": ("yzlin.tools.grade", "runs what a class handed in again, and says how each exercise stands", ["handed_in"]),
    "bench": ("yzlin.tools.bench", "how fast a training step or a story is, done in several ways", ["", "--stories"]),
}


class Help(argparse.ArgumentDefaultsHelpFormatter, argparse.RawDescriptionHelpFormatter):
    """Names the default of each option that has one, and leaves the lines of the examples alone."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        return action.help if action.default is None else super()._get_help_string(action)


def main(argv: list[str] | None = None) -> int:
    """Runs one command. 0: done; 2: one sentence on standard error says what is wrong and what to do."""
    parser = argparse.ArgumentParser(prog="python -m yzlin", description=__doc__)
    subparsers = parser.add_subparsers(dest="command", required=True)
    argv = sys.argv[1:] if argv is None else argv
    try:
        for name, (module, help_text, examples) in COMMANDS.items():
            epilog = "examples:\n" + "\n".join(f"  python -m yzlin {name} {example}".rstrip() for example in examples)
            subparser = subparsers.add_parser(
                name, help=help_text, description=f"{name}: {help_text}", epilog=epilog, formatter_class=Help
            )
            if name in argv[:1]:  # only the command that runs is imported: `doctor` must work where torch is broken
                importlib.import_module(module).add_arguments(subparser)
        options, options.rest = parser.parse_known_args(argv)
        if options.rest and options.command != "lab":  # what `lab` does not know goes on to JupyterLab
            parser.error(f"unrecognized arguments: {' '.join(options.rest)}")
        return importlib.import_module(COMMANDS[options.command][0]).main(options)
    except KeyboardInterrupt:
        say("\nInterrupted.")
        return 130
    except BrokenPipeError:  # the reader of our output went away, as `head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except (ValueError, OSError, RuntimeError, ImportError, MemoryError) as error:
        sentence = " ".join(str(error).split()) or "there is not enough memory: choose smaller numbers."
        say(f"yzlin {argv[0]}: {sentence}")
        return 2


def say(text: str) -> None:
    """One line on standard error, in any terminal: a letter that its encoding lacks becomes a question mark."""
    if sys.stderr is not None:
        encoding = getattr(sys.stderr, "encoding", None) or "ascii"
        print(text.encode(encoding, "replace").decode(encoding), file=sys.stderr)


if __name__ == "__main__":
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            stream.reconfigure(errors="replace")  # a story may hold a letter that this terminal lacks
    if sys.stderr is not None and not sys.stderr.isatty():  # ten bars a second would make megabytes of a night's log file
        os.environ.setdefault("TQDM_MININTERVAL", "10")  # seconds
    sys.exit(main())
