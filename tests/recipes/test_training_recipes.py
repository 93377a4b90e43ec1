"""The training recipes through their command lines: what they log is what was published."""

import json
import math
import os
import subprocess
import sys
from pathlib import Path

import keras
import pytest

import budgetbert.models  # noqa: F401 (it registers the classes of the files that are loaded here)
from budgetbert.corpus.store import open_corpus
from budgetbert.training.run.directory import Run

REPOSITORY = Path(__file__).parents[2]
NOT_DECAYED = ["bias", "gamma", "beta", "scale"]
RECIPES = ("academic_24h", "cramming_24h", "lamb_76min", "frontier", "continue_24h")


def run(recipe, *flags):
    done = subprocess.run(
        [sys.executable, REPOSITORY / "recipes" / f"{recipe}.py", *map(str, flags)],
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        capture_output=True,
        text=True,
    )
    assert "Traceback" not in done.stderr, done.stderr
    return done


def trained(recipe, corpus, directory, *flags):
    """Runs a recipe in `tiny` to its end and returns its `Run` and standard output."""
    common = ("--preset", "tiny", "--precision", "float32", "--corpus", corpus, "--output_dir", directory)
    done = run(recipe, *common, *flags)
    assert done.returncode == 0, done.stderr
    return Run(str(directory)), done.stdout


def lines(run, key):
    return [line for line in run.lines() if key in line]


def recipe_of(run):
    return run.read_json("recipe.json")["recipe"]


def in_recipe(recipe, code):
    """What Python code prints with a recipe imported as `recipe`, without Keras."""
    code = f"import sys; sys.path.insert(0, 'recipes'); import json, {recipe} as recipe; " + code
    return json.loads(subprocess.check_output([sys.executable, "-c", code], cwd=REPOSITORY, text=True))


@pytest.mark.slow
@pytest.mark.any_backend
def test_academic_24h(small_text, tmp_path):
    flags = ("--budget", "20steps", "--batch_size", 8, "--micro_batch_size", 4)
    run, printed = trained("academic_24h", small_text, tmp_path, *flags)
    for line in lines(run, "learning_rate"):
        x = (line["step"] - 1) / 20
        assert line["learning_rate"] == pytest.approx(1e-3 * min(x / 0.06, (1 - x) / 0.94))
        assert (line["batch_size"], line["mask_rate"]) == (8, 0.15)
    # every 12.5 % up to 75 %, then at 85, 92 and 97 %, each after the step that passes it
    assert [line["step"] for line in lines(run, "validation_loss")][:-1] == [0, 3, 5, 8, 10, 13, 15, 17, 19, 20]
    assert [(line["mark"], line["step"]) for line in lines(run, "mark")] == [
        *((0.5, 10), (0.6, 12), (0.7, 14), (0.8, 16), (0.9, 18)),
    ]
    assert run.read_json("plan.json")["predictions_per_row"] == 19
    recipe = run.read_json("recipe.json")["recipe"]
    adam = {"class": "AdamW", "beta_1": 0.9, "beta_2": 0.98, "epsilon": 1e-6, "weight_decay": 0.01}
    assert adam.items() <= recipe["optimizer"].items()
    assert (recipe["clip_norm"], recipe["dropout_in_pretraining"]) == (None, 0.1)
    assert recipe["phases"]["1"]["schedule"] == "linear(warmup=0.06)"
    assert open_corpus(tmp_path / "corpus").rows_kind == "sentences"
    assert "differs from the published recipe: batch 8, published 4096" in printed
    assert "rows" not in "".join(line for line in printed.splitlines() if "differs" in line)


@pytest.mark.slow
@pytest.mark.any_backend
def test_cramming_24h(small_text, tmp_path):
    flags = ("--budget", "20steps", "--batch_size", 16, "--micro_batch_size", 4)
    run, _ = trained("cramming_24h", small_text, tmp_path, *flags)
    for line in lines(run, "learning_rate"):
        x = (line["step"] - 1) / 20
        assert line["learning_rate"] == pytest.approx(1e-3 * min(0.25 + x, 4 * (1 - x)))
        assert line["batch_size"] == min(4 * (int(x / 0.6 * 4 + 1e-9) + 1), 16)
        assert line["mask_rate"] == 0.25
    assert lines(run, "learning_rate")[0]["batch_size"] == 4
    assert run.read_json("plan.json")["predictions_per_row"] == 32
    recipe = run.read_json("recipe.json")["recipe"]
    adam = {"class": "AdamW", "beta_1": 0.9, "beta_2": 0.98, "epsilon": 1e-12, "weight_decay": 0.01}
    assert adam.items() <= recipe["optimizer"].items()
    assert (recipe["clip_norm"], recipe["dropout_in_pretraining"], recipe["batch_ramp"]) == (0.5, 0.0, 0.6)
    corpus = open_corpus(tmp_path / "corpus")
    assert (corpus.rows_kind, corpus.order) == ("packed", "short_sentences_first")
    options = corpus.manifest["options"]
    assert (options["normalizer"], options["filter"], options["vocabulary"]) == ("cramming", 0.25, 32768)
    # inactive in pretraining, there for finetuning
    assert keras.models.load_model(tmp_path / "model.keras").backbone.dropout == 0.1


@pytest.mark.slow
@pytest.mark.any_backend
def test_frontier(small_text, tmp_path):
    flags = ("--budget", "20steps", "--batch_size", 8, "--micro_batch_size", 4, "--marks", "0.5")
    run, _ = trained("frontier", small_text, tmp_path, *flags)
    recipe = run.read_json("recipe.json")["recipe"]
    muon = {
        "class": "Muon",
        "momentum": 0.95,
        "nesterov": True,
        "scale": "rms",
        "exclude_from_weight_decay": NOT_DECAYED,
    }
    assert muon.items() <= recipe["optimizer"].items()
    assert recipe["mask_shares"] == [1.0, 0.0]
    assert recipe["dropout_in_pretraining"] == 0.0
    encoder = keras.models.load_model(tmp_path / "model.keras").backbone
    assert (encoder.num_layers, encoder.hidden_dim, encoder.gated, encoder.position) == (4, 128, True, "rotary")
    assert open_corpus(tmp_path / "corpus").rows_kind == "packed"


@pytest.mark.slow
@pytest.mark.any_backend
def test_continue_24h(finished_run, small_corpus, tmp_path):
    flags = ("--corpus", small_corpus.directory, "--initial_model", finished_run, "--budget", "20steps")
    flags += ("--batch_size", 8, "--micro_batch_size", 8, "--precision", "float32", "--output_dir", tmp_path / "run")
    done = run("continue_24h", *flags, "--keep_an_eye_on", small_corpus.directory)
    assert done.returncode == 0, done.stderr
    logged = Run(str(tmp_path / "run"))
    peak = 1e-4 * (8 / 256) ** 0.774
    for line in lines(logged, "learning_rate"):
        x = (line["step"] - 1) / 20
        assert line["learning_rate"] == pytest.approx(peak * min(x / 0.06, (1 - x) / 0.94))
    adam = {"class": "AdamW", "beta_1": 0.9, "beta_2": 0.98, "epsilon": 1e-6, "weight_decay": 0.01}
    recipe = recipe_of(logged)
    assert adam.items() <= recipe["optimizer"].items()
    assert (recipe["mask_rate"], recipe["early_stop"], recipe["to"]) == ("0.15", "rising", "domain")
    first, before = lines(logged, "validation_loss")[0], lines(Run(str(finished_run)), "final")[0]
    assert first["validation_loss"] == pytest.approx(before["validation_loss"], abs=1e-5)
    assert first["validation_old_loss"] == first["validation_loss"]
    assert (tmp_path / "run" / "marks" / "best.keras").exists()


@pytest.mark.without_backend
def test_continue_24h_s_rate_is_the_published_one_at_both_published_batches():
    code = "print(json.dumps([recipe.rates(rows)[0] for rows in (2048, 256)]))"
    assert in_recipe("continue_24h", code) == [pytest.approx(5e-4, rel=1e-3), 1e-4]


@pytest.mark.slow
@pytest.mark.without_backend
def test_what_a_search_searches_is_set_by_flags(small_text, tmp_path):
    flags = ("--budget", "10steps", "--batch_size", 8, "--micro_batch_size", 8, "--schedule", "cosine")
    flags += ("--warmup", 0.2, "--weight_decay", 0.1, "--betas", "0.8,0.95", "--clip_norm", 0.5, "--dropout", 0.2)
    run, printed = trained("academic_24h", small_text, tmp_path, *flags)
    recipe = recipe_of(run)
    assert {"beta_1": 0.8, "beta_2": 0.95, "weight_decay": 0.1}.items() <= recipe["optimizer"].items()
    assert (recipe["clip_norm"], recipe["dropout_in_pretraining"]) == (0.5, 0.2)
    assert recipe["phases"]["1"]["schedule"] == "cosine(warmup=0.2)"
    for line in lines(run, "learning_rate"):
        x = (line["step"] - 1) / 10
        factor = x / 0.2 if x < 0.2 else 0.5 * (1 + math.cos(math.pi * (x - 0.2) / 0.8))
        assert line["learning_rate"] == pytest.approx(1e-3 * factor)
    assert keras.models.load_model(tmp_path / "model.keras").backbone.dropout == 0.2
    for told in (
        *(
            "clipping 0.5, published None",
            "dropout 0.2, published 0.1",
            "schedule cosine(warmup=0.2), published linear",
        ),
        *("weight decay and betas (0.1, (0.8, 0.95)), published (0.01, (0.9, 0.98))", "published outside it"),
        "entries trained on the text, published those of bert-large-uncased",
    ):
        assert told in printed


@pytest.mark.slow
@pytest.mark.any_backend
@pytest.mark.parametrize("recipe", ["academic_24h", "lamb_76min"])
def test_muon_takes_the_place_of_a_recipe_s_optimizer(recipe, small_text, tmp_path):
    flags = ("--budget", "2steps", "--batch_size", 8, "--micro_batch_size", 8, "--optimizer", "muon")
    run, printed = trained(recipe, small_text, tmp_path, *flags)
    beta_2, epsilon, name = (0.98, 1e-6, "adamw") if recipe == "academic_24h" else (0.999, 1e-6, "lamb")
    muon = {"class": "Muon", "adam_beta_2": beta_2, "adam_epsilon": epsilon, "weight_decay": 0.01}
    assert muon.items() <= run.read_json("recipe.json")["recipe"]["optimizer"].items()
    assert f"differs from the published recipe: optimizer muon, published {name}" in printed


@pytest.mark.slow
@pytest.mark.any_backend
def test_lamb_76min_nvidia(small_text, tmp_path):
    flags = ("--budget", "9steps", "--batch_size", 16, "--micro_batch_size", 8, "--objective", "mlm_nsp")
    run, _ = trained("lamb_76min", small_text, tmp_path, *flags, "--variant", "nvidia")
    logged = lines(run, "learning_rate")
    assert [line["phase"] for line in logged] == 7 * [1] + 2 * [2]  # 7,038 of 8,601 of 9 steps
    assert [line["batch_size"] for line in logged] == 7 * [16] + 2 * [8]
    peaks = 6e-3 * (16 / 65536) ** 0.5, 4e-3 * (8 / 32768) ** 0.5
    first = [0, 1 / 7 / 0.2843, *((1 - i / 7) ** 0.5 for i in range(2, 7))]
    assert first[2] == pytest.approx(0.846, abs=1e-3)  # where it jumps to after the warm-up
    # NVIDIA's code is a step ahead, one of its 7,038 and 1,563.
    first = [
        first[0] + 1 / 7038 / 0.2843,
        first[1] + 1 / 7038 / 0.2843,
        *((1 - i / 7 - 1 / 7038) ** 0.5 for i in range(2, 7)),
    ]
    rates = [*(peaks[0] * factor for factor in first), peaks[1] / 1563 / 0.128, peaks[1] * (0.5 - 1 / 1563) ** 0.5]
    assert [line["learning_rate"] for line in logged] == pytest.approx(rates)
    assert keras.models.load_model(tmp_path / "model.keras").backbone.activation == "gelu_approximate"
    assert recipe_of(run)["architecture"] == {"activation": "gelu_approximate"}
    corpora = [open_corpus(tmp_path / "corpus" / name) for name in ("128", "512")]
    assert [(corpus.rows_kind, corpus.sequence_length) for corpus in corpora] == [("pairs", 128), ("pairs", 512)]
    assert corpora[0].vocabulary == corpora[1].vocabulary
    recipe = run.read_json("recipe.json")["recipe"]
    lamb = {"class": "Lamb", "beta_1": 0.9, "beta_2": 0.999, "epsilon": 1e-6, "weight_decay": 0.01}
    lamb["exclude_from_weight_decay"] = NOT_DECAYED
    assert lamb.items() <= recipe["optimizer"].items()
    assert "exclude_from_layer_adaptation" not in recipe["optimizer"]  # the same list, its default
    assert (recipe["clip_norm"], recipe["variant"]) == (1.0, "nvidia")
    assert lines(run, "validation_next_sentence_accuracy")


@pytest.mark.slow
@pytest.mark.without_backend
def test_lamb_s_published_plan_is_that_of_its_paper(two_corpora, tmp_path):
    run, printed = trained("lamb_76min", two_corpora, tmp_path, "--plan_only")
    one, two = run.read_json("plan.json")["phases"]
    assert (one["steps"], one["batch_size"], two["steps"], two["batch_size"]) == (7038, 65536, 1561, 32768)
    assert (one["learning_rate"], two["learning_rate"]) == (pytest.approx(7.07e-3, abs=2e-6), 5e-3)
    assert one["schedule"] == "polynomial(warmup=0.4, power=1)"
    assert two["schedule"] == "polynomial(warmup=0.2, power=1)"
    assert run.read_json("recipe.json")["recipe"]["clip_norm"] == 1.0
    assert "differs from the published recipe: row length of phase 2 64, published 512" in printed


@pytest.mark.without_backend
def test_lamb_scales_with_the_square_root_of_the_batch():
    code = "print(json.dumps([[r(b)[0], r(b)[1].keywords] for r, b in (%s)]))"
    pairs = "(recipe.paper_rates, 32768), (recipe.paper_rates, 16384), (recipe.paper_rates, 512), "
    pairs += "(recipe.NVIDIA_128, 16384), (recipe.NVIDIA_512, 8192)"
    full, half, small, nvidia, second = in_recipe("lamb_76min", code % pairs)
    assert full == [5e-3, {"warmup": 0.2, "power": 1.0}]
    assert half == [pytest.approx(5e-3 / 2**0.5), {"warmup": 0.1, "power": 1.0}]  # the paper's row of 16K
    assert small == [pytest.approx(5e-3 / 8), {"warmup": 0.05, "power": 1.0}]  # 1/320 by the formula
    assert nvidia == [pytest.approx(3e-3), {"warmup": 0.2843, "power": 0.5, "ahead": 1 / 7038}]
    assert second == [pytest.approx(2e-3), {"warmup": 0.128, "power": 0.5, "ahead": 1 / 1563}]


@pytest.mark.without_backend
@pytest.mark.parametrize(("name", "steps", "warmup"), [("NVIDIA_128", 7038, 0.2843), ("NVIDIA_512", 1563, 0.128)])
def test_nvidia_s_rates_are_those_of_its_scheduler(name, steps, warmup):
    """`PolyWarmUpScheduler` counts the step that is to be made: rate t / T / warm-up, then (1 - t / T) ** 0.5."""
    code = f"curve = recipe.{name}(recipe.{name}.keywords['published'])[1]; "
    code += f"print(json.dumps([curve(t / {steps}) for t in range({steps})]))"
    for t, factor in enumerate(in_recipe("lamb_76min", code), 1):
        x = t / steps
        assert factor == pytest.approx(x / warmup if x < warmup else (1 - x) ** 0.5, abs=1e-6)


@pytest.mark.without_backend
@pytest.mark.parametrize(("rows", "steps", "peak", "warmup"), [(65536, 7038, 7.0711e-3, 0.4), (32768, 1561, 5e-3, 0.2)])
def test_lamb_s_rates_of_both_phases_are_those_of_the_published_formula(rows, steps, peak, warmup):
    code = f"rate, curve = recipe.paper_rates({rows}); "
    code += f"print(json.dumps([rate * curve(t / {steps}) for t in range({steps})]))"
    rates = in_recipe("lamb_76min", code)
    for t, rate in enumerate(rates):
        assert rate == pytest.approx(peak * (t / (warmup * steps) if t < warmup * steps else 1 - t / steps), rel=1e-4)
    assert sum(rates) / steps == pytest.approx(peak * (0.5 * warmup + 0.5 * (1 - warmup) ** 2), rel=1e-3)


@pytest.mark.without_backend
@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("batch_ramp", "nan"), ("stop_at", "nan"), ("price_per_hour", "nan"), ("price_per_hour", "inf")),
        *(("learning_rate", "nan"), ("learning_rate", "inf"), ("batch_size", 10**22), ("micro_batch_size", 2**31)),
    ],
)
def test_a_number_that_is_none_ends_with_one_sentence_before_keras_is_imported(tmp_path, name, value):
    done = run("academic_24h", "--demo", "--output_dir", tmp_path / "run", f"--{name}", value)
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1
    assert name in done.stderr
    assert str(value) in done.stderr
    assert not (tmp_path / "run").exists()


@pytest.mark.without_backend
@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--corpus", "nowhere"], "nowhere"),
        (["--corpus", "demo", "--preset", "mni"], "--preset mni is unknown"),
        (["--corpus", "demo", "--budget", "10"], "--budget '10' cannot be read"),
        (["--corpus", "demo", "--checkpoint_every", "5tokens"], "--checkpoint_every '5tokens' cannot be read"),
    ],
)
def test_a_mistake_is_told_before_keras_is_imported(tmp_path, flags, message):
    code = (
        "import sys; sys.path.insert(0, 'recipes'); import academic_24h as recipe; from budgetbert import command_line"
    )
    code += (
        "\ntry: command_line.run(recipe.main)\nfinally: assert not {'keras', 'tensorflow', 'jax'} & set(sys.modules)"
    )
    command = [sys.executable, "-c", code, *flags, "--output_dir", str(tmp_path / "run")]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert message in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert not (tmp_path / "run").exists()


@pytest.mark.without_backend
@pytest.mark.parametrize("recipe", RECIPES)
def test_the_surface_is_what_stands_so_far(recipe):
    """What users type is a promise: a flag is added here on purpose or not at all."""
    code = "from absl import flags; modules = flags.FLAGS.flags_by_module_dict(); print(json.dumps(sorted(f.name "
    code += "for m, fs in modules.items() if m in ('budgetbert.training.flags', recipe.__name__) for f in fs)))"
    assert in_recipe(recipe, code) == sorted(
        [
            *("batch_ramp", "batch_size", "budget", "checkpoint_every", "corpus", "demo", "devices", "early_stop"),
            *("betas", "clip_norm", "config", "dropout", "initial_model", "schedule", "warmup", "weight_decay"),
            *("keep_checkpoints", "learning_rate", "length_bins", "loggers", "marks", "mask_rate", "micro_batch_size"),
            "optimizer",
            *("output_dir", "plan_only", "precision", "preset", "price_per_hour", "recalibrate", "remat", "seed"),
            "stop_at",
            *(("initial_run", "objective", "phases", "variant") if recipe == "lamb_76min" else ()),
            *(("keep_an_eye_on", "to") if recipe == "continue_24h" else ()),
        ]
    )


@pytest.mark.without_backend
@pytest.mark.parametrize("recipe", RECIPES)
def test_a_recipe_says_first_what_it_costs_and_stays_short(recipe):
    source = (REPOSITORY / "recipes" / f"{recipe}.py").read_text()
    for word in ("Hardware", "Time", "Cost", "Expected", "Run       python", "Corpus", "Small", "Source"):
        assert word in source
    assert len(source.splitlines()) < 100
