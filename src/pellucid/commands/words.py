"""The options of the command line, by the group that they stand under in the help."""

from pathlib import Path
from typing import Annotated, Any

import typer


def _group(panel: str) -> Any:
    def option(*names: str, help: str, metavar: str | None = None, hidden: bool = False) -> Any:
        return typer.Option(
            *names, help=help, metavar=metavar, rich_help_panel=panel, show_default=False, hidden=hidden
        )

    return option


_data, _net, _learn = _group("Data"), _group("Network"), _group("Training")
_run, _show = _group("Run"), _group("Output")

Json = Annotated[bool, _show("--json", help="Print the result as one line of JSON, and nothing else.")]
RunArgument = Annotated[
    Path, typer.Argument(metavar="RUN", help="The folder of a run, or its name.", show_default=False)
]
Verified = Annotated[
    Path | None, typer.Argument(metavar="[RUN]", help="The folder of a run, or its name.", show_default=False)
]
Machine = Annotated[
    bool, _show("--machine", help="Check this machine instead: its sums, and which native kernels are in use.")
]
Examined = Annotated[
    Path,
    typer.Argument(
        metavar="SOURCE",
        help="A run (folder or name), a log (CSV, JSON lines, TensorBoard's event files), or a recipe.toml.",
        show_default=False,
    ),
]
ExerciseName = Annotated[
    str | None, typer.Argument(metavar="[NAME]", help="Of an exercise; without it they are listed.", show_default=False)
]
Cause = Annotated[str | None, _show("--cause", metavar="PROBLEM", help="Your answer: what is wrong.")]
Fix = Annotated[
    list[str] | None,
    _show("--fix", metavar="KEY=VALUE", help="A setting that should mend it; several times for several."),
]
Reveal = Annotated[bool, _show("--reveal", help="Show the cause, and the repair.")]
Trust = Annotated[bool, _run("--trust", help="Run the Python file that the recipe names.")]
Device = Annotated[
    str | None, _run("--device", metavar="cpu|gpu|tpu", help="Where to compute; default: the best there is.")
]
Target = Annotated[
    list[str] | None, _data("--target", metavar="COLUMN", help="The column to learn; several times for several.")
]
NetworkOption = Annotated[
    str | None,
    _net("--network", metavar="SPEC", help="mlp:128,64 (the default), perceptron, or FILE.py:NAME."),
]
Activation = Annotated[str | None, _net("--activation", metavar="NAME", help="After each hidden layer; default relu.")]
LossOption = Annotated[str | None, _learn("--loss", metavar="NAME", help="Default: what suits the target.")]
Augment = Annotated[
    str | None,
    _learn("--augment", metavar="LIST", help="Change images at random while training: flip,crop:4,cutout:8."),
]
Shuffle = Annotated[
    str | None,
    _learn("--shuffle", metavar="HOW", help="rows, or blocks of neighbouring rows: for data on a slow disk."),
]
Seed = Annotated[int | None, _learn("--seed", metavar="N", help="Of split, initial weights and shuffling; default 0.")]
Task = Annotated[
    str | None,
    _data("--task", metavar="KIND", help="classification, regression, or pairs (of texts); default: by the target."),
]
Split = Annotated[
    str | None,
    _data(
        "--split",
        metavar="A,B,C",
        help="Of training, validation, test; 0.7,0.15,0.15 (texts 0.9,0.05,0.05).",
    ),
]
Validation = Annotated[str | None, _data("--validation", metavar="FILE", help="Your own validation part.")]
Test = Annotated[str | None, _data("--test", metavar="FILE", help="Your own test part.")]
Group = Annotated[str | None, _data("--group", metavar="COLUMN", help="Rows of one group stay in one part.")]
Time = Annotated[str | None, _data("--time", metavar="COLUMN", help="Split in the order of this column.")]
Text = Annotated[str | None, _data("--text", metavar="COLUMN", help="The column of text to read, of a table.")]
TokenKind = Annotated[
    str | None,
    _data("--tokens", metavar="KIND", help="Of text: characters, words, or byte pairs (bpe:1000)."),
]
Context = Annotated[
    int | None,
    _data("--context", metavar="N", help="Tokens that are read at once; default 64, for whole texts at most 256."),
]
Sequences = Annotated[
    bool, _data("--sequences", help="The rows of a --group are steps of one example, in the order of --time.")
]
Window = Annotated[
    int | None, _data("--window", metavar="N", help="Foretell the target of a row from the N rows before it.")
]
EachStep = Annotated[bool, _data("--each-step", help="Of --sequences: each step has a target of its own.")]
ImageSize = Annotated[
    str | None, _data("--image-size", metavar="N", help="Bring images to N x N, or HEIGHTxWIDTH: 32x48.")
]
SkipBad = Annotated[bool, _data("--skip-bad", help="Leave out images that cannot be read, and say which.")]
Stream = Annotated[
    bool | None,
    _data(
        "--stream/--no-stream",
        help="Leave examples on disk and read them as they are needed; default: where memory is too small for them.",
    ),
]
Weight = Annotated[str | None, _data("--weight", metavar="COLUMN", help="How much a row counts.")]
ClassWeights = Annotated[
    str | None, _data("--class-weights", metavar="LABEL=W,...", help="Weights of classes, or: balanced.")
]
Folds = Annotated[
    int | None, _data("--folds", metavar="K", help="Cross-validation: train K times, each with another test part.")
]
Seeds = Annotated[
    int | None,
    _learn("--seeds", metavar="N", help="Train N times, with N seeds: how much of a score is chance."),
]
Initial = Annotated[
    str | None, _net("--initial", metavar="NAME", help="Initial hidden weights; default: what suits the activation.")
]
Start = Annotated[Path | None, _net("--from", metavar="RUN", help="Begin with the weights of a run (fine-tuning).")]
Freeze = Annotated[
    list[str] | None, _net("--freeze", metavar="PATH", help="Weights that do not move, such as hidden1; repeatable.")
]
Rate = Annotated[
    list[str] | None,
    _net("--rate", metavar="PATH=FACTOR", help="Factor on the learning rate of some weights; repeatable."),
]
Metric = Annotated[
    str | None, _learn("--metric", metavar="NAME", help="Default: accuracy for classes, r2 for numbers.")
]
Optimizer = Annotated[
    str | None, _learn("--optimizer", metavar="NAME", help="Default adamw; also sgd, adam:b1=0.8 and the like.")
]
Schedule = Annotated[str | None, _learn("--schedule", metavar="NAME", help="Of the learning rate; default cosine.")]
LearningRate = Annotated[
    str | None, _learn("--learning-rate", metavar="R|auto", help="Default: the optimizer's own; auto: a range test.")
]
BatchSize = Annotated[
    str | None,
    _learn("--batch-size", metavar="N|all|auto", help="Default: the optimizer's own; auto: what the memory holds."),
]
Precision = Annotated[
    str | None,
    _learn("--precision", metavar="NAME", help="What layers compute in: float32 (the default), bfloat16 or float16."),
]
Accumulate = Annotated[
    int | None, _learn("--accumulate", metavar="N", help="Compute each batch in N parts, in the memory of one.")
]
Remat = Annotated[
    str | None,
    _learn("--remat", metavar="blocks", help="Compute blocks again on the way back, and keep only what lies between."),
]
Epochs = Annotated[int | None, _learn("--epochs", metavar="N", help="How often the training part is seen.")]
Steps = Annotated[int | None, _learn("--steps", metavar="N", help="How many updates; in place of --epochs.")]
Patience = Annotated[
    int | None, _learn("--patience", metavar="N", help="Epochs without a better validation score before it ends.")
]
Plain = Annotated[bool, _learn("--plain", help="As in textbooks: constant rate, no decay, the last epoch is kept.")]
Doctor = Annotated[
    str | None,
    _learn(
        "--doctor", metavar="off|hint|full",
        help="What the doctor says: nothing, the evidence and a question, or everything (the default).",
    ),
]  # fmt: skip
Silence = Annotated[list[str] | None, _learn("--silence", metavar="PROBLEM", help="Do not name this; repeatable.")]
Repair = Annotated[
    bool, _learn("--repair", help="Try out what the doctor would change, and keep what helps; the run is never worse.")
]
Notes = Annotated[bool, _show("--notes", help="Also what is worth knowing and does no harm.")]
Set = Annotated[list[str] | None, _learn("--set", metavar="KEY=VALUE", help="Any other key of a recipe; repeatable.")]
Name = Annotated[str | None, _run("--name", metavar="TEXT", help="A name for the run.")]
Out = Annotated[Path | None, _run("--out", metavar="DIR", help="The run's own folder; default: a new one in runs/.")]
Resume = Annotated[Path | None, _run("--resume", metavar="RUN", help="Go on with an interrupted run.")]
Mesh = Annotated[
    str | None,
    _run("--mesh", metavar="AXIS=N", help="Over several devices: data=4; with weights divided too: data=2,shard=2."),
]
Coordinator = Annotated[
    str | None,
    _run("--coordinator", metavar="HOST:PORT", help="Train with other processes: where process 0 is; or: auto."),
]
Processes = Annotated[int | None, _run("--processes", metavar="N", help="How many processes train together.")]
Process = Annotated[int | None, _run("--process", metavar="I", help="Which one of them this is, from 0.")]
JoinSeconds = Annotated[
    float | None, _run("--join-seconds", metavar="S", help="How long to wait for the others; default 300.")
]
TensorBoard = Annotated[
    bool, _run("--tensorboard", help="Also write TensorBoard's event files, into the run's folder tensorboard/.")
]
NoBaselines = Annotated[bool, _run("--no-baselines", help="Train no simple models to compare with.")]
DryRun = Annotated[bool, _run("--dry-run", help="Show what would be done (data, network, recipe), and do nothing.")]
Quiet = Annotated[bool, _show("--quiet", "-q", help="No progress, only the result.")]
Watch = Annotated[
    bool, _show("--watch", help="Serve a page that shows the run live, on this machine alone; its address is printed.")
]
Watched = Annotated[
    Path | None,
    typer.Argument(metavar="[RUN]", help="A run, or a folder of runs; default: runs/.", show_default=False),
]
OutFile = Annotated[Path | None, _show("--out", metavar="FILE.csv", help="Write there; default: stdout.")]
Probabilities = Annotated[bool, _show("--probabilities", "-p", help="The probability of each class, too.")]
Scored = Annotated[
    str | None,
    typer.Argument(
        metavar="FILE", help="Rows with their targets; default: the run's own test part.", show_default=False
    ),
]
Folder = Annotated[
    Path | None, typer.Argument(metavar="DIR", help="Default: runs/, or $PELLUCID_HOME/runs.", show_default=False)
]
SeveralRuns = Annotated[list[Path], typer.Argument(metavar="RUN RUN...", help="Two or more runs.", show_default=False)]
Subject = Annotated[
    str,
    typer.Argument(metavar="RUN|SOURCE", help="A run, or data for a network with initial weights.", show_default=False),
]
Row = Annotated[int, _show("--row", metavar="N", help="Which row of the data, counted from 1; default 1.")]
LayerPath = Annotated[str | None, _show("--layer", metavar="PATH", help="Show this layer alone, in full.")]
Unit = Annotated[int | None, _show("--unit", metavar="N", help="Show this unit of each layer, counted from 1.")]
Place = Annotated[
    str | None, _show("--place", metavar="ROW,COLUMN", help="Show convolutions at this place; default: the strongest.")
]
Step = Annotated[
    int | None, _show("--step", metavar="N", help="Show this step of a sequence, counted from 1; default: the last.")
]
Head = Annotated[
    int | None, _show("--head", metavar="N", help="Show this head of attention, counted from 1; default: the surest.")
]
Prompt = Annotated[str | None, _show("--prompt", metavar="TEXT", help="What to go on from; default: a new line.")]
Tokens = Annotated[int, _show("--length", metavar="N", help="How many tokens to write; default 500.")]
Temperature = Annotated[
    float, _show("--temperature", metavar="T", help="Below 1: surer; above 1: wilder; 0: always the likeliest.")
]
TopK = Annotated[int | None, _show("--top-k", metavar="K", help="Draw from the K likeliest tokens alone.")]
TopP = Annotated[float | None, _show("--top-p", metavar="P", help="Draw from the likeliest that together reach P.")]
DrawSeed = Annotated[int, _show("--seed", metavar="N", help="Of the draws; default 0.")]
ShownRate = Annotated[
    float | None, _learn("--learning-rate", metavar="R", help="Of the update that is shown; default 0.1.")
]
Source = Annotated[
    str | None,
    typer.Argument(
        metavar="SOURCE",
        show_default=False,
        help="A built-in set (see `pellucid datasets`), a table, a text, a folder of images, an .npz, a recipe.toml.",
    ),
]
Rows = Annotated[str, typer.Argument(metavar="FILE", help="Rows to predict, with the columns that were trained on.")]
Onnx = Annotated[bool, _show("--onnx", help='As ONNX, for onnxruntime; needs pip install "pellucid[onnx]".')]
PyTorch = Annotated[bool, _show("--pytorch", help="The weights as a PyTorch state_dict, in a safetensors file.")]
ExportFile = Annotated[
    Path | None, _show("--to", metavar="FILE", help="Write there; default: network.onnx or pytorch.safetensors in RUN.")
]
Port = Annotated[int | None, _show("--port", metavar="N", help="Of the page; default: 8765, or the next free one.")]
Host = Annotated[
    str, _show("--host", metavar="NAME", help="Who may open it: 127.0.0.1 (default) this machine, 0.0.0.0 others too.")
]
NoBrowser = Annotated[bool, _show("--no-browser", help="Only print the page's address.")]
Seats = Annotated[
    int,
    typer.Option(
        "--seats",
        metavar="N",
        min=1,
        help="Learners at a time; default 64.",
        show_default=False,
        rich_help_panel="Output",
    ),
]
