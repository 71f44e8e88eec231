"""A tool call parser as people bring one along, with TOOL_PARSER_PLUGIN."""

from vllm.tool_parsers import ToolParserManager
from vllm.tool_parsers.hermes_tool_parser import Hermes2ProToolParser


@ToolParserManager.register_module("mine")
class MyToolParser(Hermes2ProToolParser):
    def __init__(self, *arguments: object, **options: object) -> None:
        super().__init__(*arguments, **options)
        print("the plugin parses")  # noqa: T201 (the test looks for it in the worker's log)
