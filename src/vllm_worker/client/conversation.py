"""A conversation in the terminal: turns, and the words that begin with a slash."""

import json
from collections.abc import Callable, Generator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vllm_worker.client.errors import ClientError, ExitCode
from vllm_worker.client.messages import Message, user_message
from vllm_worker.client.screen import answer_shown, say, show

HELP = """\
/system TEXT   begin anew with this system prompt
/model [NAME]  ask another model; without a name, list them
/retry         ask for the last answer again
/save FILE     write the conversation as JSON
/clear         begin anew
/exit          leave, as Ctrl-D does
\"""            begins a text of several lines, and ends it
Ctrl-C stops an answer."""

Ask = Callable[[dict[str, Any]], Generator[dict[str, Any]]]
"""A request's body → its chunks."""


@dataclass
class Conversation:
    """Messages so far. `fields` are those of every request but model and messages."""

    ask: Ask
    model: str
    fields: dict[str, Any] = field(default_factory=dict)
    messages: list[Message] = field(default_factory=list)
    models: Callable[[], list[str]] = list

    def body(self) -> dict[str, Any]:
        """The request that asks for the next answer."""
        return {"model": self.model, "messages": self.messages, **self.fields}

    def answer(self) -> bool:
        """Ask with what has been said and show the answer. False when it was stopped."""
        answer, stopped = Answer(), False
        with answer_shown() as view, closing(self.ask(self.body())) as chunks:
            try:
                for chunk in chunks:
                    view.add(answer.add(chunk))
            except KeyboardInterrupt:
                stopped = True
        for line in answer.calls_as_text():
            show(line)
        if answer.only_reasoned:
            say("the model reasoned, and answered nothing")
        if not stopped and not answer.finish_reason:
            raise ClientError("the answer ended before it was complete", ExitCode.UNREACHABLE)
        if answer.text or answer.calls:
            self.messages.append(answer.message())
        return not stopped

    def run(self, read: Callable[[str], str]) -> None:
        """Read turns until there are no more; an error of one turn does not end it."""
        say(f"{self.model} · /help tells more, Ctrl-D leaves")
        while True:
            try:
                text = read_turn(read)
            except EOFError:
                print()
                return
            except KeyboardInterrupt:
                print()
                continue
            if text in ("/exit", "/quit", "/bye"):
                return
            try:
                self._turn(text)
            except ClientError as error:
                say(str(error))
            except KeyboardInterrupt:  # before the answer had begun
                say("stopped")

    def _turn(self, text: str) -> None:
        if text.startswith("/"):
            word, _, rest = text[1:].partition(" ")
            self._command(word, rest.strip())
        elif text:
            self.messages.append(user_message(text, []))
            self._ask_again()

    def _command(self, word: str, rest: str) -> None:
        commands: dict[str, Callable[[str], None]] = {
            "system": self._system,
            "model": self._choose,
            "retry": self._retry,
            "save": self._save,
            "clear": self._clear,
            "help": lambda _: say(HELP),
        }
        if word not in commands:
            raise ClientError(f"there is no /{word}; see /help")
        if word in ("system", "save") and not rest:
            raise ClientError(f"/{word} needs something behind it; see /help")
        commands[word](rest)

    def _system(self, prompt: str) -> None:
        self.messages = [{"role": "system", "content": prompt}]

    def _clear(self, _: str) -> None:
        self.messages = [m for m in self.messages[:1] if m["role"] == "system"]

    def _retry(self, _: str) -> None:
        asked = list(self.messages)
        while asked and asked[-1]["role"] == "assistant":
            asked.pop()
        if not asked or asked[-1]["role"] != "user":
            raise ClientError("there is nothing to ask again")
        self.messages = asked
        self._ask_again()

    def _ask_again(self) -> None:
        before = len(self.messages)
        try:
            if not self.answer():
                say("stopped")
        finally:
            if len(self.messages) == before:  # what was not answered is no part of it
                self.messages.pop()

    def _choose(self, name: str) -> None:
        models = self.models()
        if name and name not in models:
            raise ClientError(f"{name} is not served; there are {', '.join(models)}")
        if name:
            self.model = name
        for model in models:
            say(f"{'*' if model == self.model else ' '} {model}")

    def _save(self, name: str) -> None:
        file = Path(name).expanduser()
        try:
            file.write_text(json.dumps(self.messages, indent=2) + "\n")
        except OSError as error:
            raise ClientError(f"{file} cannot be written: {error.strerror}") from error
        say(f"{len(self.messages)} messages are in {file}")


class Answer:
    """The first choice of a stream, put together from its chunks."""

    def __init__(self) -> None:
        self.text = ""
        self._calls: dict[int, dict[str, Any]] = {}
        self._reasoned = False
        self.finish_reason: str | None = None
        self.usage: dict[str, Any] | None = None

    def add(self, chunk: dict[str, Any]) -> str:
        """Returns the text that is new."""
        self.usage = chunk.get("usage") or self.usage
        for choice in chunk.get("choices") or []:
            if choice.get("index", 0) == 0:
                self.finish_reason = choice.get("finish_reason") or self.finish_reason
                return self._add_delta(choice.get("delta") or {})
        return ""

    def _add_delta(self, delta: dict[str, Any]) -> str:
        for part in delta.get("tool_calls") or []:
            new = {"id": "", "type": "function", "function": {"name": "", "arguments": ""}}
            call = self._calls.setdefault(part.get("index", 0), new)
            given = part.get("function") or {}
            call["id"] = part.get("id") or call["id"]
            call["function"]["name"] += given.get("name") or ""
            call["function"]["arguments"] += given.get("arguments") or ""
        self._reasoned |= bool(delta.get("reasoning") or delta.get("reasoning_content"))
        text = delta.get("content") or delta.get("refusal") or ""
        self.text += text
        return str(text)

    @property
    def calls(self) -> list[dict[str, Any]]:
        """Calls of tools, in their order."""
        return [self._calls[index] for index in sorted(self._calls)]

    @property
    def only_reasoned(self) -> bool:
        """Whether all that came was what the model thought on its way to an answer."""
        return self._reasoned and not self.text and not self._calls

    def message(self) -> Message:
        """As the next request has to have it."""
        calls = {"tool_calls": self.calls} if self.calls else {}
        return {"role": "assistant", "content": self.text or None, **calls}

    def calls_as_text(self) -> list[str]:
        """Tool calls as a line each."""
        functions = [call["function"] for call in self.calls]
        return [f"{function['name']}({function['arguments']})" for function in functions]


def read_turn(read: Callable[[str], str]) -> str:
    """One turn of the user's; three quotes begin and end one of several lines."""
    text = read("> ").strip()
    if not text.startswith('"""'):
        return text
    lines = [text[3:]]
    while not lines[-1].rstrip().endswith('"""'):
        lines.append(read("… "))
    lines[-1] = lines[-1].rstrip()[:-3]
    return "\n".join(lines).strip()
