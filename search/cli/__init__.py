"""What the command line of `search.run` is made of: options, plan, assembly, workers and console."""

TRACKERS = {
    "tensorboard": "search.cli.tracking:TensorBoard",
    "wandb": "search.cli.tracking:WandB",
    "mlflow": "search.cli.tracking:MLflow",
}
