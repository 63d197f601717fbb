"""The command line: parse, call, print. What each verb does is in `pellucid.commands`, imported when it is called."""

import difflib
import io
import sys
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup

from pellucid import __version__
from pellucid.commands import words
from pellucid.commands.guard import guarded


class Verbs(TyperGroup):
    """The verbs; an unknown one is told with the nearest that there is."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        if args and not args[0].startswith("-") and self.get_command(ctx, args[0]) is None:
            near = difflib.get_close_matches(args[0], self.list_commands(ctx), n=1)
            ctx.fail(f"there is no verb {args[0]!r}" + (f"; did you mean {near[0]!r}?" if near else ""))
        return super().resolve_command(ctx, args)


class Grouped(TyperCommand):
    """A command whose help lists its options by group, in plain text: quick, and readable in every terminal."""

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
    cls=Verbs,
    add_completion=False,
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)


def _version(wanted: bool) -> None:
    if wanted:
        print(f"pellucid {__version__}")
        raise typer.Exit()


@app.callback()
def pellucid(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """Train neural networks that one can see through."""


def verb(name: str) -> Any:
    def register(function: Any) -> Any:
        return app.command(name, cls=Grouped)(guarded(function))

    return register


@verb("train")
def train(
    source: words.Source = None,
    target: words.Target = None,
    task: words.Task = None,
    split: words.Split = None,
    validation: words.Validation = None,
    test: words.Test = None,
    group: words.Group = None,
    time: words.Time = None,
    text: words.Text = None,
    tokens: words.TokenKind = None,
    context: words.Context = None,
    sequences: words.Sequences = False,
    window: words.Window = None,
    each_step: words.EachStep = False,
    image_size: words.ImageSize = None,
    skip_bad: words.SkipBad = False,
    stream: words.Stream = None,
    weight: words.Weight = None,
    class_weights: words.ClassWeights = None,
    folds: words.Folds = None,
    network: words.NetworkOption = None,
    activation: words.Activation = None,
    initial: words.Initial = None,
    start: words.Start = None,
    freeze: words.Freeze = None,
    rate: words.Rate = None,
    loss: words.LossOption = None,
    metric: words.Metric = None,
    optimizer: words.Optimizer = None,
    schedule: words.Schedule = None,
    learning_rate: words.LearningRate = None,
    batch_size: words.BatchSize = None,
    accumulate: words.Accumulate = None,
    precision: words.Precision = None,
    remat: words.Remat = None,
    epochs: words.Epochs = None,
    steps: words.Steps = None,
    patience: words.Patience = None,
    augment: words.Augment = None,
    shuffle: words.Shuffle = None,
    seed: words.Seed = None,
    seeds: words.Seeds = None,
    plain: words.Plain = False,
    doctor: words.Doctor = None,
    silence: words.Silence = None,
    repair: words.Repair = False,
    set_: words.Set = None,
    name: words.Name = None,
    out: words.Out = None,
    resume: words.Resume = None,
    device: words.Device = None,
    mesh: words.Mesh = None,
    coordinator: words.Coordinator = None,
    processes: words.Processes = None,
    process: words.Process = None,
    join_seconds: words.JoinSeconds = None,
    trust: words.Trust = False,
    no_baselines: words.NoBaselines = False,
    tensorboard: words.TensorBoard = False,
    dry_run: words.DryRun = False,
    json: words.Json = False,
    quiet: words.Quiet = False,
    watch: words.Watch = False,
) -> int:
    """Train a network, and write a run."""
    given = {k: v for k, v in locals().items() if v is not None and (v is not False or k == "stream") and v != []}
    from pellucid.commands.train import train

    return train(given)


@verb("predict")
def predict(
    run: words.RunArgument,
    file: words.Rows,
    out: words.OutFile = None,
    probabilities: words.Probabilities = False,
    device: words.Device = None,
    json: words.Json = False,
) -> None:
    """Predict new rows with a run's network, as CSV."""
    from pellucid.commands.predict import predict

    predict(run, file, out=out, probabilities=probabilities, device=device, as_json=json)


@verb("evaluate")
def evaluate(
    run: words.RunArgument,
    file: words.Scored = None,
    device: words.Device = None,
    json: words.Json = False,
) -> None:
    """Score a run's network."""
    from pellucid.commands.predict import evaluate

    evaluate(run, file, device=device, as_json=json)


@verb("generate")
def generate(
    run: words.RunArgument,
    prompt: words.Prompt = None,
    length: words.Tokens = 500,
    temperature: words.Temperature = 1.0,
    top_k: words.TopK = None,
    top_p: words.TopP = None,
    seed: words.DrawSeed = 0,
    device: words.Device = None,
    json: words.Json = False,
) -> None:
    """Write text with a run's language model."""
    from pellucid.commands.generate import generate

    generate(
        run, prompt, tokens=length, temperature=temperature, top_k=top_k, top_p=top_p, seed=seed, device=device,
        as_json=json,
    )  # fmt: skip


@verb("runs")
def runs(
    folder: words.Folder = None,
    json: words.Json = False,
) -> None:
    """List runs and their scores."""
    from pellucid.commands.look import runs

    runs(folder, as_json=json)


@verb("show")
def show(
    run: words.RunArgument,
    notes: words.Notes = False,
    json: words.Json = False,
) -> None:
    """Show a run in the terminal.

    Scores, curves, what every layer did over time, confusion and findings; of a finished run or one that goes on."""
    from pellucid.commands.look import show

    show(run, notes=notes, as_json=json)


@verb("watch")
def watch(
    run: words.Watched = None,
    port: words.Port = None,
    host: words.Host = "127.0.0.1",
    no_browser: words.NoBrowser = False,
) -> None:
    """Show runs in the browser, live.

    Curves, what goes on in each layer, findings; pause, stop and save; the network as it was after earlier epochs.
    Serves this machine alone unless --host says otherwise; ends with Ctrl-C."""
    from pellucid.commands.watch import watch

    watch(run, port=port, host=host, browser=not no_browser)


@verb("diagnose")
def diagnose(
    source: words.Examined,
    doctor: words.Doctor = None,
    silence: words.Silence = None,
    notes: words.Notes = False,
    device: words.Device = None,
    trust: words.Trust = False,
    json: words.Json = False,
    quiet: words.Quiet = False,
) -> None:
    """Say what is wrong with a run, a log, or a recipe.

    Of a run, finished or going, from its record; of another tool's log as far as losses tell; of a recipe by looking at
    its data and network, and by training a tenth of it in memory."""
    from pellucid.commands.diagnose import diagnose

    diagnose(
        source, how=doctor, silence=silence or [], notes=notes, device=device, trust=trust, as_json=json, quiet=quiet
    )


@verb("exercise")
def exercise(
    name: words.ExerciseName = None,
    cause: words.Cause = None,
    fix: words.Fix = None,
    reveal: words.Reveal = False,
    out: words.Out = None,
    device: words.Device = None,
    json: words.Json = False,
    quiet: words.Quiet = False,
) -> int:
    """Find what is wrong with a training in which a fault was planted.

    Shows curves and what the doctor sees, without the diagnosis; checks the cause that you name and the change that you
    try, and explains."""
    from pellucid.commands.exercise import exercise
    from pellucid.commands.options import choose_device

    choose_device(device)
    return exercise(name, cause=cause, fix=fix or [], reveal=reveal, out=out, as_json=json, quiet=quiet)


@verb("compare")
def compare(
    runs: words.SeveralRuns,
    json: words.Json = False,
) -> None:
    """Set runs side by side.

    Shows the settings that differ, curves, scores and costs."""
    from pellucid.commands.look import compare

    compare(runs, as_json=json)


@verb("datasets")
def datasets(json: words.Json = False) -> None:
    """List the built-in sets."""
    from pellucid.commands.look import datasets

    datasets(as_json=json)


@verb("report")
def report(run: words.RunArgument) -> None:
    """Write a run's report.html anew, and print its path."""
    from pellucid.commands.look import report

    report(run)


@verb("explain")
def explain(
    source: words.Subject,
    row: words.Row = 1,
    layer: words.LayerPath = None,
    unit: words.Unit = None,
    place: words.Place = None,
    step: words.Step = None,
    head: words.Head = None,
    target: words.Target = None,
    task: words.Task = None,
    network: words.NetworkOption = None,
    activation: words.Activation = None,
    loss: words.LossOption = None,
    learning_rate: words.ShownRate = None,
    seed: words.Seed = None,
    trust: words.Trust = False,
    json: words.Json = False,
) -> int:
    """Step through one example, forward and backward.

    Every weighted sum, activation and gradient, as numbers and as the formula, checked against jax.grad: dense layers,
    convolutions (--place), recurrent layers through time (--step), attention (--head)."""
    from pellucid.commands.explain import Shown, explain

    shown = Shown(layer, unit, place, step, head)
    words = {"target": target, "task": task, "network": network, "activation": activation, "loss": loss, "seed": seed}
    return explain(source, row=row, shown=shown, words=words, learning_rate=learning_rate, trust=trust, as_json=json)


@verb("play")
def play(
    port: words.Port = None,
    host: words.Host = "127.0.0.1",
    seats: words.Seats = 64,
    no_browser: words.NoBrowser = False,
) -> None:
    """Play with a small network in the browser: watch it learn, step by step.

    Choose data (your own CSV too), network and optimizer; see every neuron, the gradient, and what the doctor says. One
    server serves a class: --host 0.0.0.0 lets others in, by the address that is printed."""
    from pellucid.web.play import playground
    from pellucid.web.serve import serve

    serve(playground(seats), host, port, not no_browser)


@verb("export")
def export(
    run: words.RunArgument,
    onnx: words.Onnx = False,
    pytorch: words.PyTorch = False,
    to: words.ExportFile = None,
    device: words.Device = None,
    json: words.Json = False,
) -> None:
    """Write a run's network for other software.

    An ONNX file is read back and compared with the network on the run's own rows."""
    from pellucid.commands.export import export

    export(run, onnx=onnx, pytorch=pytorch, to=to, device=device, as_json=json)


@verb("verify")
def verify(
    run: words.Verified = None, machine: words.Machine = False, trust: words.Trust = False, json: words.Json = False
) -> int:
    """Train a run again, and say whether the bytes agree; or check that this machine computes rightly."""
    from pellucid.commands.look import verify, verify_machine

    return verify_machine(run, as_json=json) if machine else verify(run, trust=trust, as_json=json)


def main(args: list[str] | None = None) -> None:
    """The entry point: parse, run, and leave with the exit code."""
    for stream in (sys.stdout, sys.stderr):  # a terminal that lacks a letter shows "?" in its place
        if isinstance(stream, io.TextIOWrapper):
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
