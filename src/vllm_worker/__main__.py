"""`python -m vllm_worker config`: shows and checks the configuration, without engine or GPU."""

import argparse
import os
import sys

from vllm_worker.configuration import load_configuration
from vllm_worker.configuration.show import effective, listing
from vllm_worker.errors import ConfigurationError


def main() -> int:
    arguments = _arguments()
    if arguments.list is not None:
        print(listing(arguments.list))
        return 0
    try:
        configuration = load_configuration(os.environ)
    except ConfigurationError as error:
        print(error, file=sys.stderr)
        return 2
    for note in configuration.notes:
        print(note, file=sys.stderr)
    if arguments.check:
        print("nothing is wrong, as far as can be seen without vLLM")
    else:
        print(effective(configuration, as_json=arguments.json))
    return 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser("python -m vllm_worker")
    commands = parser.add_subparsers(required=True)
    config = commands.add_parser("config", help="show the configuration that a worker would have")
    config.add_argument("--json", action="store_true", help="for programs")
    config.add_argument("--check", action="store_true", help="only say what is wrong; code 2 if so")
    config.add_argument(
        "--list", nargs="?", const="", metavar="WORD", help="all variables, or those with a word"
    )
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
