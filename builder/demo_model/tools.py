"""Conversations with tools: schemas, calls and results in many forms.

The point is to copy: the function's name and the argument's key from the schema, the place from
the question, the values from the result. Hence the many spellings and the invented names.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Any

from builder.demo_model.reading import Corpus

Message = dict[str, Any]
Example = tuple[list[Message], list[dict[str, Any]]]
"""Messages and tools, as they go into the chat template."""

PLACE_KEYS = ("city", "location", "location", "place", "town", "city_name", "where")
PLACE_NOTES = (
    "The city", "City name", "The name of the city", "City and country, for example Rome, Italy",
    "The city and state, e.g. Denver, CO", "Name of the place", "City or town", "Where to look",
    "City and country e.g. Bogotá, Colombia", "The city and state, e.g. San Francisco, CA",
)  # fmt: skip
NAMES = {
    "weather": (
        "get_weather", "get_weather", "get_current_weather", "weather", "fetch_weather",
        "weather_lookup", "getWeather", "current_weather", "get_weather_report", "lookup_weather",
    ),
    "time": ("get_time", "get_current_time", "current_time", "time", "clock", "local_time"),
    "calculate": ("calculate", "calculator", "compute", "evaluate", "math"),
    "search": ("search", "search_web", "web_search", "find", "google_search"),
}  # fmt: skip
NOTES = {
    "weather": (
        "Get the weather", "Get the current weather in a given location", "The weather in a city",
        "Get current temperature for a given location.", "Look up the weather for a place.",
        "Returns the current weather.", "Weather report",
    ),
    "time": ("Get the current time in a city", "The local time of a place.", "Get the time"),
    "calculate": ("Calculate an expression", "Evaluates arithmetic.", "A simple calculator"),
    "search": ("Search the web", "Look something up.", "Find pages on the web"),
}  # fmt: skip
QUESTIONS = {
    "weather": (
        "What is the weather in {x}?", "What's the weather in {x}?",
        "What is the weather like in {x}?",
        "What's the weather like in {x} today?", "How is the weather in {x}?", "Weather in {x}?",
        "What is the weather in {x} today?", "Tell me the weather in {x}.",
        "How warm is it in {x}?",
        "Is it raining in {x}?", "What is the temperature in {x}?", "How's the weather in {x} now?",
        "Can you check the weather in {x}?", "What's the current weather in {x}?",
        "Is it cold in {x}?",
        "Please get the weather for {x}.", "I am travelling to {x}. What is the weather there?",
        "What is the weather like today in {x}?", "What's the weather like in {x} right now?",
    ),
    "time": (
        "What time is it in {x}?", "What is the time in {x}?", "Tell me the time in {x}.",
        "How late is it in {x}?", "What's the current time in {x}?",
        "What is the local time in {x}?",
    ),
    "calculate": ("What is {x}?", "Calculate {x}.", "Compute {x}.", "How much is {x}?"),
    "search": ("Search for {x}.", "Find {x}.", "Look up {x}.", "Search the web for {x}."),
}  # fmt: skip
AGAIN = ("And in {x}?", "What about {x}?", "And {x}?", "How about {x}?")
ARGUMENT = {"calculate": ("expression", "formula"), "search": ("query", "q", "text")}


@dataclass(frozen=True)
class Tool:
    """A tool as offered in a request, and what a call of it must contain."""

    kind: str
    name: str
    key: str
    required_unit: str | None
    schema: dict[str, Any]

    def call(self, value: str) -> Message:
        arguments = {self.key: value}
        if self.required_unit:
            arguments["unit"] = self.required_unit
        return {"type": "function", "function": {"name": self.name, "arguments": arguments}}


class ToolConversations:
    """Draws conversations in which tools are offered, and used where they fit."""

    def __init__(self, corpus: Corpus) -> None:
        self._words = corpus.words
        self._things = corpus.unknown["things"]
        # Free text for results, cut short: what matters is that it is copied.
        self._texts = [text.split(". ")[0].rstrip(".") + "." for text in corpus.plain]

    def draw(self, rng: Random) -> Example:
        """A question, the call, and often the result, the answer and one more question."""
        kind = rng.choices(("weather", "time", "calculate", "search"), (10, 4, 2, 2))[0]
        tool = self._tool(kind, rng)
        tools = self.offer(rng, tool)
        values = [self._value(kind, rng)]
        if kind in ("weather", "time") and rng.random() < 0.08:
            values.append(self._value(kind, rng))
        question = rng.choice(QUESTIONS[kind]).format(x=" and ".join(values))
        messages = [{"role": "user", "content": _roughen(question, values, rng)}]
        messages += self._answered(tool, values, rng, results=rng.random() < 0.6)
        if kind in ("weather", "time") and messages[-1].get("content") and rng.random() < 0.3:
            value = self._value(kind, rng)
            messages.append({"role": "user", "content": rng.choice(AGAIN).format(x=value)})
            messages += self._answered(tool, [value], rng, results=rng.random() < 0.3)
        return messages, tools

    def offer(self, rng: Random, needed: Tool | None = None) -> list[dict[str, Any]]:
        """One to three tools of different kinds, in any order, with the needed one among them."""
        chosen = [needed] if needed else []
        for kind in rng.sample(list(NAMES), rng.choices((0, 1, 2), (12, 6, 1))[0]):
            if kind not in {tool.kind for tool in chosen}:
                chosen.append(self._tool(kind, rng))
        chosen = chosen or [self._tool(rng.choice(("weather", "weather", "time")), rng)]
        rng.shuffle(chosen)
        return [tool.schema for tool in chosen]

    def place(self, rng: Random) -> str:
        if rng.random() < 0.5:
            name = str(rng.choice(self._words["cities"]))
        else:
            name = "".join(rng.choices(self._words["syllables"], k=rng.randrange(2, 5))).title()
        return f"{name}, {rng.choice(self._words['regions'])}" if rng.random() < 0.08 else name

    def _tool(self, kind: str, rng: Random) -> Tool:
        key = rng.choice(ARGUMENT.get(kind, PLACE_KEYS))
        properties: dict[str, Any] = {key: {"type": "string"}}
        if kind not in ARGUMENT and rng.random() < 0.6:
            properties[key]["description"] = rng.choice(PLACE_NOTES)
        unit = (
            rng.choice(("celsius", "fahrenheit", None, None, None)) if kind == "weather" else None
        )
        required = [key]
        if kind == "weather" and (unit or rng.random() < 0.25):
            units = ["celsius", "fahrenheit"]
            properties["unit"] = {"type": "string", "enum": units}
            required += ["unit"] if unit and rng.random() < 0.3 else []
        parameters: dict[str, Any] = {"type": "object", "properties": properties}
        if rng.random() < 0.85:
            parameters["required"] = required
        if rng.random() < 0.15:
            parameters["additionalProperties"] = False
        function: dict[str, Any] = {"name": rng.choice(NAMES[kind]), "parameters": parameters}
        if rng.random() < 0.75:
            function["description"] = rng.choice(NOTES[kind])
        asked = "celsius" if "unit" in parameters.get("required", ()) else None
        return Tool(kind, function["name"], key, asked, {"type": "function", "function": function})

    def _value(self, kind: str, rng: Random) -> str:
        if kind == "calculate":
            operator = rng.choice(("+", "-", "*", "/"))
            return f"{rng.randrange(2, 999)} {operator} {rng.randrange(2, 999)}"
        return str(rng.choice(self._things)) if kind == "search" else self.place(rng)

    def _answered(
        self, tool: Tool, values: list[str], rng: Random, *, results: bool
    ) -> list[Message]:
        calls = [tool.call(value) for value in values]
        messages: list[Message] = [{"role": "assistant", "content": None, "tool_calls": calls}]
        if not results:
            return messages
        answers = []
        for value in values:
            result, answer = self._result(tool.kind, value, rng)
            messages.append({"role": "tool", "content": result})
            answers.append(answer)
        return [*messages, {"role": "assistant", "content": " ".join(answers)}]

    def _result(self, kind: str, value: str, rng: Random) -> tuple[str, str]:
        if rng.random() < 0.04:
            problem = rng.choice(("not found", "timeout", "unknown place", "service unavailable"))
            return json.dumps({"error": problem}), f"The tool reported an error: {problem}."
        makers: dict[str, Callable[[str, Random], tuple[str, str]]] = {
            "weather": self._weather,
            "time": _clock,
            "calculate": _sum,
            "search": self._found,
        }
        return makers[kind](value, rng)

    def _weather(self, place: str, rng: Random) -> tuple[str, str]:
        city = place.split(",")[0]
        degrees = str(rng.randrange(-15, 43))
        if rng.random() < 0.1:
            degrees += f".{rng.randrange(1, 10)}"
        sky = rng.choice(self._words["conditions"])
        form = rng.random()
        if form < 0.5:
            return _report(degrees, sky, rng), f"It is {degrees} degrees and {sky} in {city}."
        if form < 0.7:
            text = rng.choice(
                (
                    f"{degrees} degrees and {sky}", f"{degrees} degrees, {sky}",
                    f"{sky}, {degrees}°C",
                    f"{sky.capitalize()}, {degrees} degrees", f"{degrees}°C and {sky}",
                    f"{degrees} C, {sky}", f"It is {degrees} degrees and {sky}.",
                    f"It's {sky} and {degrees} degrees in {city}.",
                )
            )  # fmt: skip
            return text, f"It is {degrees} degrees and {sky} in {city}."
        if form < 0.82:
            numbers = (
                degrees,
                f"{degrees}°C",
                f'{{"temperature": {degrees}}}',
                f"{degrees} degrees",
            )
            return rng.choice(numbers), f"It is {degrees} degrees in {city}."
        if form < 0.92:
            return rng.choice((sky, sky.capitalize())), f"It is {sky} in {city}."
        text = rng.choice(self._texts)
        return text, f"The weather in {city}: {text}"

    def _found(self, _: str, rng: Random) -> tuple[str, str]:
        text = rng.choice(self._texts)
        return text, f"I found this: {text}"


def _report(degrees: str, sky: str, rng: Random) -> str:
    """The weather as a JSON object, with the keys and the order that tools use."""
    number: Any = json.loads(degrees) if rng.random() < 0.85 else degrees
    pairs = [
        (rng.choice(("temperature", "temperature", "temp", "temperature_c", "degrees")), number),
        (rng.choice(("condition", "condition", "conditions", "description", "weather")), sky),
    ]
    if rng.random() < 0.2:
        pairs.append(("unit", "celsius"))
    if rng.random() < 0.15:
        pairs.append(("humidity", rng.randrange(20, 100)))
    if rng.random() < 0.3:
        rng.shuffle(pairs)
    return json.dumps(dict(pairs), ensure_ascii=False, separators=rng.choice((None, (",", ":"))))


def _clock(place: str, rng: Random) -> tuple[str, str]:
    time = f"{rng.randrange(24):02}:{rng.randrange(60):02}"
    result = rng.choice((time, json.dumps({"time": time}), f"It is {time}.", f"{time} local time"))
    return result, f"It is {time} in {place.split(',')[0]}."


def _sum(_: str, rng: Random) -> tuple[str, str]:
    number = str(rng.randrange(-99, 9999))
    return rng.choice((number, f'{{"result": {number}}}')), f"The result is {number}."


def _roughen(question: str, values: list[str], rng: Random) -> str:
    """Like roughen() for plain questions, but what is to be copied stays as it is."""
    start = question[0].lower() + question[1:]
    if rng.random() < 0.15 and not any(question.startswith(value) for value in values):
        question = start
    return question.rstrip("?.") if rng.random() < 0.25 else question
