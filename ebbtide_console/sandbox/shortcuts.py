"""Where moto goes a long way round: the same answers, with a fraction of its work."""

import json
from collections.abc import Callable
from functools import cache
from typing import Any

from moto.cloudformation.models import Stack
from moto.core.serialize import AttributePicker
from moto.moto_server.werkzeug_app import DomainDispatcherApplication

from ebbtide_console.sandbox.overrides import Overrides


def install(overrides: Overrides) -> None:
    """A template comes here as JSON, and is not read as YAML; moto's directory is not listed for every request."""
    overrides.replace_maker(Stack, "parse_template", json.loads)
    service = cache(
        overrides.replace(
            DomainDispatcherApplication, "get_backend_for_host", lambda dispatcher, host: service(dispatcher, host)
        )
    )
    picked = overrides.replace(AttributePicker, "__call__", lambda picker, asked: _picked(picked, picker, asked))


def _picked(motos: Callable[..., Any], picker: Any, asked: Any) -> Any:
    """What an answer says under one name. A value in a table has ten it could stand under, and an alias for none."""
    parent = getattr(asked.shape, "parent", None)
    if parent is not None and parent.name == "AttributeValue":
        return asked.obj.get(asked.key)
    return motos(picker, asked)
