"""The command line: parse, call, print. What each verb does is in `pellucid.commands`, imported when it is called."""

import difflib
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup

from pellucid import __version__
from pellucid.commands.guard import guarded


class Verbs(TyperGroup):
    """The verbs; an unknown one is told with the nearest that there is."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        if args and not args[0].startswith("-") and self.get_command(ctx, args[0]) is None:
            near = difflib.get_close_matches(args[0], self.list_commands(ctx), n=1)
            ctx.fail(f"there is no verb {args[0]!r}" + (f"; did you mean {near[0]!r}?" if near else ""))
        return super().resolve_command(ctx, args)


class Grouped(TyperCommand):
    """A command whose help lists its options by group, in plain text: it reads well in every terminal, and starts fast."""

    def format_options(self, ctx: Any, formatter: Any) -> None:
        groups: dict[str, list[tuple[str, str]]] = {}
        for param in self.get_params(ctx):
            if (record := param.get_help_record(ctx)) is not None:
                group = getattr(param, "rich_help_panel", None) or "Options"
                groups.setdefault("Arguments" if param.param_type_name == "argument" else group, []).append(record)
        for group, records in sorted(groups.items(), key=lambda item: item[0] != "Arguments"):
            with formatter.section(group):
                formatter.write_dl(records)


app = typer.Typer(
    cls=Verbs, add_completion=False, no_args_is_help=True, rich_markup_mode=None, pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)  # fmt: skip


def _version(wanted: bool) -> None:
    if wanted:
        print(f"pellucid {__version__}")
        raise typer.Exit()


@app.callback()
def pellucid(
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")] = False,
) -> None:
    """Train neural networks that one can see through."""


def verb(name: str) -> Any:
    def register(function: Any) -> Any:
        return app.command(name, cls=Grouped)(guarded(function))

    return register


def _group(panel: str) -> Any:
    def option(*names: str, help: str, metavar: str | None = None, hidden: bool = False) -> Any:
        return typer.Option(*names, help=help, metavar=metavar, rich_help_panel=panel, show_default=False, hidden=hidden)

    return option


_data, _net, _learn = _group("Data"), _group("Network"), _group("Training")
_run, _show = _group("Run"), _group("Output")

Json = Annotated[bool, _show("--json", help="Print the result as one line of JSON, and nothing else.")]
RunArgument = Annotated[Path, typer.Argument(metavar="RUN", help="The folder of a run, or its name.", show_default=False)]
Trust = Annotated[bool, _run("--trust", help="Run the Python file that the recipe names.")]
Device = Annotated[str | None, _run("--device", metavar="cpu|gpu|tpu", help="Where to compute; default: the best there is.")]
Target = Annotated[
    list[str] | None, _data("--target", metavar="COLUMN", help="The column to learn; several times for several.")
]
NetworkOption = Annotated[
    str | None,
    _net("--network", metavar="SPEC", help="mlp:128,64 (default mlp:64,32), perceptron, or FILE.py:NAME."),
]
Activation = Annotated[str | None, _net("--activation", metavar="NAME", help="After each hidden layer; default relu.")]
LossOption = Annotated[str | None, _learn("--loss", metavar="NAME", help="Default: what suits the target.")]
Seed = Annotated[int | None, _learn("--seed", metavar="N", help="Of split, initial weights and shuffling; default 0.")]


@verb("train")
def train(
    source: Annotated[
        str | None,
        typer.Argument(
            metavar="SOURCE", show_default=False,
            help="A built-in set (see `pellucid datasets`), a table, an .npz file, a folder of IDX files, or a recipe.toml.",
        ),
    ] = None,
    target: Target = None,
    task: Annotated[str | None, _data("--task", metavar="KIND", help="classification or regression; default: as the target looks.")] = None,
    split: Annotated[str | None, _data("--split", metavar="A,B,C", help="Shares of training, validation and test; default 0.7,0.15,0.15.")] = None,
    validation: Annotated[str | None, _data("--validation", metavar="FILE", help="Your own validation part.")] = None,
    test: Annotated[str | None, _data("--test", metavar="FILE", help="Your own test part.")] = None,
    group: Annotated[str | None, _data("--group", metavar="COLUMN", help="Rows of one group stay in one part.")] = None,
    time: Annotated[str | None, _data("--time", metavar="COLUMN", help="Split in the order of this column.")] = None,
    weight: Annotated[str | None, _data("--weight", metavar="COLUMN", help="How much a row counts.")] = None,
    class_weights: Annotated[str | None, _data("--class-weights", metavar="LABEL=W,...", help="Weights of classes, or: balanced.")] = None,
    folds: Annotated[int | None, _data("--folds", metavar="K", help="Cross-validation: train K times, each with another test part.")] = None,
    network: NetworkOption = None,
    activation: Activation = None,
    initial: Annotated[str | None, _net("--initial", metavar="NAME", help="Initial hidden weights; default: what suits the activation.")] = None,
    start: Annotated[Path | None, _net("--from", metavar="RUN", help="Begin with the weights of a run (fine-tuning).")] = None,
    freeze: Annotated[list[str] | None, _net("--freeze", metavar="PATH", help="Weights that do not move, such as hidden1; repeatable.")] = None,
    rate: Annotated[list[str] | None, _net("--rate", metavar="PATH=FACTOR", help="Factor on the learning rate of some weights; repeatable.")] = None,
    loss: LossOption = None,
    metric: Annotated[str | None, _learn("--metric", metavar="NAME", help="Default: accuracy for classes, r2 for numbers.")] = None,
    optimizer: Annotated[str | None, _learn("--optimizer", metavar="NAME", help="Default adamw; also sgd:momentum=0.9 and the like.")] = None,
    schedule: Annotated[str | None, _learn("--schedule", metavar="NAME", help="Of the learning rate; default cosine.")] = None,
    learning_rate: Annotated[str | None, _learn("--learning-rate", metavar="R|auto", help="Default: the optimizer's own; auto: a range test.")] = None,
    batch_size: Annotated[str | None, _learn("--batch-size", metavar="N|all", help="Default: the optimizer's own.")] = None,
    epochs: Annotated[int | None, _learn("--epochs", metavar="N", help="How often the training part is seen.")] = None,
    steps: Annotated[int | None, _learn("--steps", metavar="N", help="How many updates; in place of --epochs.")] = None,
    patience: Annotated[int | None, _learn("--patience", metavar="N", help="Epochs without a better validation score before it ends.")] = None,
    seed: Seed = None,
    plain: Annotated[bool, _learn("--plain", help="As in textbooks: constant rate, no decay, the last epoch is kept.")] = False,
    set_: Annotated[list[str] | None, _learn("--set", metavar="KEY=VALUE", help="Any other key of a recipe; repeatable.")] = None,
    name: Annotated[str | None, _run("--name", metavar="TEXT", help="A name for the run.")] = None,
    out: Annotated[Path | None, _run("--out", metavar="DIR", help="The run's own folder; default: a new one in runs/.")] = None,
    resume: Annotated[Path | None, _run("--resume", metavar="RUN", help="Go on with an interrupted run.")] = None,
    device: Device = None,
    trust: Trust = False,
    no_baselines: Annotated[bool, _run("--no-baselines", help="Train no simple models to compare with.")] = False,
    dry_run: Annotated[bool, _run("--dry-run", help="Show what would be done (data, network, recipe), and do nothing.")] = False,
    json: Json = False,
    quiet: Annotated[bool, _show("--quiet", "-q", help="No progress, only the result.")] = False,
) -> int:  # fmt: skip
    """Train a network, and write a run."""
    given = {k: v for k, v in locals().items() if v not in (None, False, [])}
    from pellucid.commands.train import train

    return train(given)


@verb("predict")
def predict(
    run: RunArgument,
    file: Annotated[str, typer.Argument(metavar="FILE", help="Rows to predict: the columns that were trained on, in any order.")],
    out: Annotated[Path | None, _show("--out", metavar="FILE.csv", help="Write there; default: stdout.")] = None,
    probabilities: Annotated[bool, _show("--probabilities", "-p", help="The probability of each class, too.")] = False,
    device: Device = None,
    json: Json = False,
) -> None:  # fmt: skip
    """Predict new rows with a run's network, as CSV."""
    from pellucid.commands.predict import predict

    predict(run, file, out=out, probabilities=probabilities, device=device, as_json=json)


@verb("evaluate")
def evaluate(
    run: RunArgument,
    file: Annotated[str | None, typer.Argument(metavar="FILE", help="Rows with their targets; default: the run's own test part.", show_default=False)] = None,
    device: Device = None,
    json: Json = False,
) -> None:  # fmt: skip
    """Score a run's network."""
    from pellucid.commands.predict import evaluate

    evaluate(run, file, device=device, as_json=json)


@verb("runs")
def runs(
    folder: Annotated[Path | None, typer.Argument(metavar="DIR", help="Default: runs/, or $PELLUCID_HOME/runs.", show_default=False)] = None,
    json: Json = False,
) -> None:  # fmt: skip
    """List runs and their scores."""
    from pellucid.commands.look import runs

    runs(folder, as_json=json)


@verb("compare")
def compare(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN RUN...", help="Two or more runs.", show_default=False)],
    json: Json = False,
) -> None:
    """Set runs side by side.

    Shows the settings that differ, curves, scores and costs."""
    from pellucid.commands.look import compare

    compare(runs, as_json=json)


@verb("datasets")
def datasets(json: Json = False) -> None:
    """List the built-in sets."""
    from pellucid.commands.look import datasets

    datasets(as_json=json)


@verb("report")
def report(run: RunArgument) -> None:
    """Write a run's report.html anew, and print its path."""
    from pellucid.commands.look import report

    report(run)


@verb("explain")
def explain(
    source: Annotated[str, typer.Argument(metavar="RUN|SOURCE", help="A run, or data for a network with initial weights.", show_default=False)],
    row: Annotated[int, _show("--row", metavar="N", help="Which row of the data, counted from 1; default 1.")] = 1,
    layer: Annotated[str | None, _show("--layer", metavar="PATH", help="Show this layer alone, in full.")] = None,
    unit: Annotated[int | None, _show("--unit", metavar="N", help="Show this unit of each layer, counted from 1.")] = None,
    target: Target = None,
    network: NetworkOption = None,
    activation: Activation = None,
    loss: LossOption = None,
    learning_rate: Annotated[float | None, _learn("--learning-rate", metavar="R", help="Of the update that is shown; default 0.1.")] = None,
    seed: Seed = None,
    trust: Trust = False,
    json: Json = False,
) -> int:  # fmt: skip
    """Step through one example, forward and backward.

    Every weighted sum, activation and gradient, as numbers and as the formula, checked against jax.grad."""
    from pellucid.commands.explain import explain

    words = {"target": target, "network": network, "activation": activation, "loss": loss, "seed": seed}
    return explain(
        source, row=row, layer=layer, unit=unit, words=words, learning_rate=learning_rate, trust=trust, as_json=json
    )


@verb("verify")
def verify(run: RunArgument, trust: Trust = False, json: Json = False) -> int:
    """Train a run again, and say whether the bytes agree."""
    from pellucid.commands.look import verify

    return verify(run, trust=trust, as_json=json)


def main(args: list[str] | None = None) -> None:
    """The entry point: parse, run, and leave with the exit code."""
    for stream in (sys.stdout, sys.stderr):  # a terminal that lacks a letter shows "?" in its place
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")
    try:
        code = app(args=args, prog_name="pellucid", standalone_mode=False)
    except Exception as error:
        message = getattr(error, "format_message", None)  # a usage error, of whichever click Typer stands on
        if message is None:
            raise
        command = getattr(getattr(error, "ctx", None), "command_path", "pellucid")
        if type(error).__name__ == "NoArgsIsHelpError":
            print(message(), file=sys.stderr)
        else:
            print(f"error: {message()}\n  help:     {command} --help", file=sys.stderr)
        code = 2
    except KeyboardInterrupt:
        code = 130
    sys.exit(code if isinstance(code, int) else 0)
