"""What train.py says at the end: what came out, what it took, and what to run next."""

import shlex
from typing import Any

from codefit import console
from codefit.scoring.metric import in_sentence
from codefit.training import run_folder
from codefit.training.settings import TrainSettings


def report(settings: TrainSettings, trainer: Any, result: Any, final: dict[str, float], peak: str) -> None:
    """Print the results, the peak memory and the next command."""
    output = settings.output.output_dir
    took = console.duration(result.metrics["train_runtime"])
    console.show(f"trained {console.counted(result.global_step, 'step')} in {took}, peak memory {peak}:")
    console.show(f"validation loss {final['eval_loss']:.4f} nats, {final['eval_bits_per_byte']:.4f} bits per byte,")
    console.show(
        f"perplexity {final['eval_perplexity']:.4g}, next-token accuracy {final['eval_accuracy']:.1%}, "
        f"top-5 accuracy {final['eval_top_5_accuracy']:.1%}"
    )
    if trainer.held_out:
        metrics = trainer.held_out.metrics
        console.show(f"completions of {len(trainer.held_out.pairs)} validation prompts ", end="")
        console.show(f"({console.duration(trainer.predicting_seconds)} in total)" + ":" * bool(metrics))
        if metrics:
            console.show(", ".join(f"{in_sentence(it.label)} {final['eval_' + it.name]:.1f} %" for it in metrics))
    if trainer.replay:
        before = next(row["eval_replay_loss"] for row in trainer.state.log_history if "eval_replay_loss" in row)
        console.show(f"forgetting: replay loss {before:.4f} -> {final['eval_replay_loss']:.4f} nats")
    if trainer.state.best_model_checkpoint and settings.watch.load_best_model_at_end:
        console.show(
            f"kept:    step {trainer.state.best_global_step}, the best in {settings.watch.metric_for_best_model}"
        )
    console.show(f"curve:   {output / run_folder.LOSS_CURVE}")
    if trainer.held_out:
        console.show(f"texts:   {output / run_folder.PREDICTIONS_PAGE}")
    if settings.watch.profile and (output / run_folder.PROFILE).exists():
        console.show(f"profile: {output / run_folder.PROFILE}")
    console.show(f"output:  {output}")
    if settings.full_finetuning:
        console.show(f"next:    {shlex.join(['python', 'benchmarking.py', str(output)])}")
    elif not settings.from_scratch:
        console.show(f"next:    {shlex.join(['python', 'merge_lora.py', str(output)])}")
