"""Feed YAML files to LLaMA-Factory's own argument parser, in a process of its own: parse_recipes.py FILE [key=value
...] -- FILE ...

Prints one JSON object {argument line: null or the error}. The process poses as one rank of a distributed run (DeepSpeed
configurations are refused otherwise) on a CPU; packages that exist for GPUs only are not asked for.
"""

from __future__ import annotations

import json
import os
import socket
import sys

GPU_ONLY = ("liger-kernel", "bitsandbytes", "flash-attn")


def main() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    os.environ.update(
        RANK="0",
        LOCAL_RANK="0",
        WORLD_SIZE="1",
        MASTER_ADDR="127.0.0.1",
        MASTER_PORT=str(port),
        LLAMAFACTORY_VERBOSITY="ERROR",
    )
    from llamafactory.hparams import get_infer_args, get_train_args, parser
    from omegaconf import OmegaConf

    check = parser.check_version
    parser.check_version = lambda requirement, mandatory=False: (
        None if requirement.startswith(GPU_ONLY) else check(requirement, mandatory)
    )
    results = {}
    for line in " ".join(sys.argv[1:]).split(" -- "):
        path, *overrides = line.split()
        settings = OmegaConf.to_container(OmegaConf.merge(OmegaConf.load(path), OmegaConf.from_cli(overrides)))
        try:
            if settings.get("do_train"):
                get_train_args({**settings, "use_cpu": True, "output_dir": os.path.join("out", "never-written")})
            else:
                get_infer_args(settings)
            results[line] = None
        except Exception as error:
            results[line] = f"{type(error).__name__}: {error}"
    print(json.dumps(results))


if __name__ == "__main__":
    main()
